"""InfoMask as the paper writes it: a random start, nothing that favours more mask = more disease.

Only the attention starts open, as for all masked networks: shut by its ReLU it would never learn at all.
"""

from wsl_bench import register_variant

register_variant(
    "infomask_asis",
    of="infomask",
    summary="InfoMask as written: random start, so a training may light up healthy lung.",
    groups=("paper",),
    recipe={"epochs_factor": 1.6},  # a random start may leave chance late (docs/training.md)
    symmetric_start="none",
    polarity_start=False,
)
