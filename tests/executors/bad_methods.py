"""Plug-ins that do what no plug-in should, as files of a WSLBENCH_PLUGINS folder."""

from __future__ import annotations

import os
from pathlib import Path

# What they share. Their trainings cost most and so come first; good methods follow in the same process.
COMMON = '''
import os
import random
import warnings

import numpy as np
import torch
from torch import nn

from wsl_bench import PriorMethod, TrainedMethod
from wsl_bench.nets.prior import FixedMap


class Small(TrainedMethod):
    """A network too small to be of use."""

    relative_cost = 100.0

    def build(self, task):
        return nn.Sequential(
            nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)
        )

    def localize(self, net, images):
        return torch.softmax(net(images), 1)[:, 1], images[:, 0].abs()


class Flat(PriorMethod):
    """The same everywhere."""

    def fit(self, task, data):
        return FixedMap(torch.ones(task.image_size, task.image_size))

    def localize(self, net, images):
        return net.repeat(images)


def tell(name):
    """Note which process this is."""
    with open(os.environ["PIDS"], "a") as file:
        file.write(f"{name} {os.getpid()}\\n")


def disturb(name):
    """Change what a process keeps for all its code, so that numbers come out otherwise and nothing fails."""
    tell(name)
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    torch.set_num_threads(2)
    torch.set_flush_denormal(False)
    torch.use_deterministic_algorithms(False)
    torch.set_float32_matmul_precision("medium")
    nn.modules.module.register_module_forward_hook(
        lambda module, given, out: out * 2 if isinstance(module, nn.Conv2d) else None
    )


def spoil(name):
    """The same, so that what runs after it fails."""
    disturb(name)
    torch.set_autocast_enabled("cpu", True)
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    np.seterr(all="raise")
    warnings.simplefilter("error")
    os.chdir("/")
'''

_HEAD = """
import sys, os, time, ctypes
import torch
from wsl_bench import PostHocMethod, register_method
from wsl_bench.methods._common import Flat, Small, disturb, spoil, tell

"""

_EXPLAINER = (
    _HEAD
    + '''
@register_method("{name}")
class Bad(PostHocMethod):
    """Explains the network that gradcam explains, in the same job."""

    def explain(self, net, images):
        probability, maps = torch.softmax(net(images), 1)[:, 1].detach(), images[:, 0].abs()
        {act}
        return probability, maps
'''
)
_TRAINED = (
    _HEAD
    + '''
@register_method("{name}")
class Bad(Small):
    """Trained on its own."""

    {signature}
        {act}
        return super().{call}
'''
)
_PRIOR = (
    _HEAD
    + '''
@register_method("{name}")
class Bad(Flat):
    """Needs no training."""

    def fit(self, task, data):
        {act}
        return super().fit(task, data)
'''
)
_IN = {
    "build": ("def build(self, task):", "build(task)"),
    "loss": ("def loss(self, net, batch, progress):", "loss(net, batch, progress)"),
    "localize": ("def localize(self, net, images):", "localize(net, images)"),
}


def _explainer(name: str, act: str) -> str:
    return _EXPLAINER.format(name=name, act=act)


def _trained(name: str, where: str, act: str) -> str:
    signature, call = _IN[where]
    return _TRAINED.format(name=name, signature=signature, call=call, act=act)


def _prior(name: str, act: str) -> str:
    return _PRIOR.format(name=name, act=act)


# They cannot be used, and are listed with the reason.
UNAVAILABLE = {
    "bad_syntax": "def broken(:\n",
    "bad_import": "import a_package_that_is_not_there\n",
    "bad_init": _HEAD + '''
@register_method("bad_init")
class Bad(Flat):
    """Cannot be made."""

    def __init__(self):
        raise RuntimeError("no licence found [today]")
''',
}  # fmt: skip
# They fail, and the process goes on.
FAILING = {
    "wrong_shape": _explainer("wrong_shape", "maps = images.abs()"),
    "raises": _explainer("raises", r"raise ValueError('first line\n\n| second [red] |')"),
    "nan_map": _explainer("nan_map", "maps = maps * float('nan')"),
    "leaves": _explainer("leaves", "sys.exit('this method leaves')"),
    "spoils_in_build": _trained("spoils_in_build", "build", "spoil('spoils_in_build')"),
    "spoils_in_loss": _trained("spoils_in_loss", "loss", "spoil('spoils_in_loss')"),
    "spoils_in_localize": _trained("spoils_in_localize", "localize", "spoil('spoils_in_localize')"),
    "spoils_in_explain": _explainer("spoils_in_explain", "spoil('spoils_in_explain')"),
    "spoils_in_fit": _prior("spoils_in_fit", "spoil('spoils_in_fit')"),
}
# They have a result, whatever it is worth.
DONE = {
    "noisy": _explainer("noisy", r"""print("\x1b[2J[/red] {}", "garbage " * 50); print("[bold", file=sys.stderr)
        os.write(1, bytes(range(128))); os.write(2, bytes(range(128)))"""),
    "leaves_hooks": _explainer("leaves_hooks", """
        for module in net.modules():
            module.register_forward_pre_hook(lambda module, given: (given[0] * 0,))
            module.register_forward_hook(lambda module, given, out: out * 0)"""),
    "mutates_in_explain": _explainer("mutates_in_explain", """
        images.zero_()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.zero_()"""),
    "mutates_in_loss": _trained("mutates_in_loss", "loss", "batch.images.zero_(); batch.labels.zero_()"),
    "disturbs": _explainer("disturbs", "disturb('disturbs')"),
    "spoils_at_import": _prior("spoils_at_import", "pass") + "\nspoil('import')\n",
}  # fmt: skip
# They take the process with them, or never come back.
DEADLY = {
    "quits": _explainer("quits", "os._exit(3)"),
    "segfaults": _trained("segfaults", "localize", "ctypes.string_at(0)"),
    "hangs": _prior("hangs", "time.sleep(3600)"),
}
# The last of all: it tells in which process that was.
WITNESS = {"witness": _prior("witness", "tell('witness')")}
# With this beside them nothing is put back, which a comparison has to notice.
DISARMED = {
    "disarms": """
import wsl_bench.protocol.cell
wsl_bench.protocol.cell.set_up_process = lambda threads: None
"""
}


def write_plugins(folder: Path, files: dict[str, str]) -> dict[str, str]:
    """Write plug-in files below a folder; the environment that makes a run find them."""
    (folder / "methods").mkdir(parents=True)
    for name, text in {"_common": COMMON, **files}.items():
        (folder / "methods" / f"{name}.py").write_text(text)
    return {"WSLBENCH_PLUGINS": os.fspath(folder), "PIDS": os.fspath(folder / "pids")}
