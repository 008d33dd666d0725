"""The device a cell runs on, its precision, and the settings that make runs repeatable."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

import torch
from torch import nn

from wsl_bench.errors import UsageError

# The quicker layout for convolutions on CPU and GPU alike.
MEMORY_FORMAT = torch.channels_last


def resolve_device(wanted: str) -> str:
    """ "auto", "cpu" or "cuda" -> "cpu" or "cuda".

    Raises:
        UsageError: CUDA is asked for and not there.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: this torch sees no CUDA device. Use --device auto or cpu.")
    return wanted


def auto_precision(device: str) -> str:
    """bf16 where the device computes in it (elsewhere it is emulated and far slower), else fp32."""
    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    flags = _cpu_flags()
    return "bf16" if {"avx512_bf16", "amx_bf16"} & flags else "fp32"


def set_up_process(threads: int) -> None:
    """Settings of a worker process: thread count, no denormals, deterministic kernels; none that a plug-in left."""
    _take_back()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    # Masked networks drive activations into the denormal range, which can cost a factor of ten.
    torch.set_flush_denormal(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.use_deterministic_algorithms(True, warn_only=True)
    # TF32 keeps 10 bits of the mantissa: what is called fp32, the maps above all, is computed in fp32.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    # Deterministic mode would also fill every fresh tensor, a sixth of the training time; no code here
    # reads memory it has not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _take_back() -> None:
    """Undo what code that ran before may have set for the whole process."""
    torch.set_default_device(None)
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    torch.set_float32_matmul_precision("highest")
    for device in ("cpu", "cuda"):
        torch.set_autocast_enabled(device, False)
    for name, hooks in vars(nn.modules.module).items():  # those of every module there is
        if name.startswith("_global_") and isinstance(hooks, dict):
            hooks.clear()


def to_device(net: nn.Module, device: str) -> nn.Module:
    """Move a network, in the memory layout that convolutions are quickest in."""
    return net.to(device).to(memory_format=MEMORY_FORMAT)


@contextlib.contextmanager
def autocast(device: str, precision: str) -> Iterator[None]:
    """bf16 autocast where the precision asks for it."""
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
        yield


def _cpu_flags() -> set[str]:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            return set(next((line for line in file if line.startswith("flags")), "").split())
    except OSError:
        return set()


def give_back_memory() -> None:
    """Return what has been freed to the system (glibc); workers keep it while they train, for it is quicker.

    Without this, gigabytes that the maps of one large split took stay with a worker beside those of the next.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
