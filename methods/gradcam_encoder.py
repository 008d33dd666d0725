"""GradCAM where the paper's mask sits: at the encoder's last convolution ("we replace M in Fig 1")."""

from wsl_bench import register_variant

register_variant(
    "gradcam_encoder",
    of="gradcam",
    summary="GradCAM at the encoder's last convolution, in place of InfoMask's mask.",
    groups=("paper",),
    layer="encoder",
)
