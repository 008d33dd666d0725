"""InfoMask as the paper writes it: a random start, nothing that favours more mask = more disease."""

from wsl_bench import register_variant

register_variant(
    "infomask_asis",
    of="infomask",
    summary="InfoMask as written: random start, so a training may light up healthy lung.",
    groups=("paper",),
    symmetric_start="none",
    polarity_start=False,
)
