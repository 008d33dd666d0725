"""What gpu.sh runs; `--device cpu --size 64 --seconds 2` tries it without a GPU."""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from wsl_bench import params, registry
from wsl_bench.data.geometry import Letterbox
from wsl_bench.data.views import WeakView
from wsl_bench.method import Batch, Method, Network, Task
from wsl_bench.protocol.cost import measured
from wsl_bench.protocol.score_maps import scalings, score
from wsl_bench.training.device import MEMORY_FORMAT, autocast, set_up_process, to_device
from wsl_bench.training.inputs import Inputs

NETWORKS: tuple[tuple[registry.Kind, str], ...] = (
    ("network", "baseline"), ("method", "infomask"), ("method", "featuremask"), ("method", "regl1"),
    ("network", "densenet121"),
)  # fmt: skip
METHODS = ("gradcam", "infomask", "featuremask", "regl1", "chexcam")
RSNA_IMAGES, RSNA_RUNS, RSNA_EPOCHS, TRAIN_SHARE = 25_684, 5 * 5, 20, 0.8


def main() -> None:
    arguments = _arguments()
    set_up_process(4)
    lines = [f"{_device_name(arguments.device)}, torch {torch.__version__}, {arguments.size} px, full width", ""]
    for section in (_training(arguments), _agreement(arguments), _promises(), _study(arguments)):
        for line in section:
            print(line, flush=True)
            lines.append(line)
    (Path(arguments.out) / "gpu.md").write_text("\n".join(lines) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=4, help="for each network and precision")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--study", default="--seeds 3 --per-gpu 6", help="further options of the phantom study")
    parser.add_argument("--out", default=".")
    return parser.parse_args()


def _training(a: argparse.Namespace) -> Iterator[str]:
    """Images/s and peak memory of each network, and what RSNA's size would take."""
    yield "| network | precision | images/s | peak memory, MiB |"
    yield "|---|---|---|---|"
    seconds = 0.0
    for kind, name in NETWORKS:
        for precision in ("fp32", "bf16"):
            with measured(a.device) as cost:
                speed = _speed(a, kind, name, precision)
            yield f"| {name} | {precision} | {speed:.0f} | {cost['peak_memory_mib']:.0f} |"
        seconds += TRAIN_SHARE * RSNA_IMAGES * RSNA_EPOCHS * (RSNA_RUNS / len(NETWORKS)) / speed
    yield ""
    yield (
        f"Projected from the bf16 rows: {RSNA_IMAGES:,} images x {len(NETWORKS)} methods x 5 seeds x {RSNA_EPOCHS} "
        f"epochs train in {seconds / 3600:.1f} h on one such device (validation and maps not counted)."
    )
    yield ""


def _speed(a: argparse.Namespace, kind: registry.Kind, name: str, precision: str) -> float:
    network = cast(Network, params.build(registry.discover(kind).get(name).cls, name, {}))
    torch.manual_seed(0)
    net = to_device(network.build(Task(1, a.size, a.width, "batch", 0)), a.device).train()
    adam = torch.optim.Adam(net.parameters(), 1e-3)
    images = torch.randn(a.batch, 1, a.size, a.size, device=a.device).contiguous(memory_format=MEMORY_FORMAT)
    batch = Batch(images, torch.arange(a.batch, device=a.device) % 2)

    def step() -> None:
        with autocast(a.device, precision):
            loss = network.loss(net, batch, 0.5)
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()

    for _ in range(3):
        step()
    _wait(a.device)
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < a.seconds:
        for _ in range(5):
            step()
        _wait(a.device)
        done += 5 * a.batch
    return done / (time.perf_counter() - started)


def _agreement(a: argparse.Namespace) -> Iterator[str]:
    """Pixels that lie on another side of some threshold when the same network runs on CPU and device."""
    yield "| method | largest difference of maps in [0, 1] | pixels in another tally cell |"
    yield "|---|---|---|"
    pixels = np.random.default_rng(0).integers(0, 256, (16, 64, 64), np.uint8)
    names = tuple(f"image {i}" for i in range(len(pixels)))
    frames = (Letterbox.fit(64, 64, 64),) * len(pixels)
    view = WeakView(names, names, np.arange(len(pixels), dtype=np.int64) % 2, pixels, frames, "")
    for name in METHODS:
        method: Method = params.build(registry.discover("method").get(name).cls, name, {})
        network = cast(Any, method)
        if hasattr(method, "trained_as"):
            entry = registry.discover("network").get(network.trained_as)
            network = params.build(entry.cls, entry.name, network.network_params())
        maps = []
        for device in ("cpu", a.device):
            torch.manual_seed(0)
            net = to_device(network.build(Task(1, 64, 0.25, "batch", 0)), device)
            raw = score(method, net, Inputs(view, *view.pixel_moments(), device), names).maps
            maps.append(scalings(method, raw)[0].apply(raw))
        cells = [np.floor(m.astype(np.float64) * 1000) for m in maps]
        yield f"| {name} | {np.abs(maps[0] - maps[1]).max():.2g} | {(cells[0] != cells[1]).mean():.2%} |"
    yield ""


def _promises() -> Iterator[str]:
    """The tests that need a GPU: repeated and resumed bit for bit, killed, out of memory."""
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "--no-header", "-p", "no:cacheprovider", "tests/gpu"]
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    print(done.stdout + done.stderr, flush=True)
    yield f"`pytest tests/gpu`: {(done.stdout.strip().splitlines() or ['nothing ran'])[-1].strip(' =')}"
    yield ""


def _study(a: argparse.Namespace) -> Iterator[str]:
    """`wslbench run --methods paper` on the device."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "wsl_bench.cli.main", "run", "--methods", "paper", "--device", a.device,
                   "--out", f"{folder}/study", *a.study.split()]  # fmt: skip
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    yield f"`wslbench run --methods paper --device {a.device} {a.study}`: {time.perf_counter() - started:.0f} s"
    yield ""
    yield "```"
    yield (done.stdout if done.returncode == 0 else done.stdout + done.stderr).strip()
    yield "```"


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
