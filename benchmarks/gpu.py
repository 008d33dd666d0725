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
from wsl_bench.data.rows import ImageRows
from wsl_bench.data.views import WeakView
from wsl_bench.method import Batch, Method, Network, Task
from wsl_bench.protocol.cost import measured
from wsl_bench.protocol.score_maps import scalings, score
from wsl_bench.training.device import MEMORY_FORMAT, autocast, set_up_process, to_device
from wsl_bench.training.inputs import Inputs
from wsl_bench.training.loop import train
from wsl_bench.training.recipe import ResolvedRecipe

NETWORKS: tuple[tuple[registry.Kind, str], ...] = (
    ("network", "baseline"), ("method", "infomask"), ("method", "featuremask"), ("method", "regl1"),
    ("network", "densenet121"),
)  # fmt: skip
METHODS = ("gradcam", "infomask", "featuremask", "regl1", "chexcam")
PACKED = (1, 6)
RSNA_IMAGES, RSNA_RUNS, RSNA_EPOCHS, TRAIN_SHARE = 25_684, 5 * 5, 20, 0.8


def main() -> None:
    arguments = _arguments()
    set_up_process(1)
    if arguments.one:
        kind, name = arguments.one.split(":")
        print(_speed(arguments, kind, name, "bf16"))
        return
    lines = [f"{_device_name(arguments.device)}, torch {torch.__version__}, {arguments.size} px, full width", ""]
    for section in (_training(arguments), _agreement(arguments), _study(arguments), _packed(arguments)):
        for line in section:
            print(line, flush=True)
            lines.append(line)
    (Path(arguments.out) / "gpu.md").write_text("\n".join(lines) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=2.5, help="for each network and precision")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--study", default="--seeds 3 --per-gpu 6", help="further options of the phantom study")
    parser.add_argument("--one", help="print the images/s of one network, such as method:infomask, and end")
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


def _packed(a: argparse.Namespace) -> Iterator[str]:
    """Images/s of several processes on one device, each training a network of its own (--per-gpu)."""
    yield f"| network, bf16 | {' | '.join(f'{n} at once' for n in PACKED)} |"
    yield f"|---|{'---|' * len(PACKED)}"
    for kind, name in (("method", "infomask"), ("network", "densenet121")):
        command = [sys.executable, __file__, "--device", a.device, "--size", str(a.size), "--batch", str(a.batch),
                   "--width", str(a.width), "--seconds", str(a.seconds), "--one", f"{kind}:{name}"]  # fmt: skip
        together = []
        for n in PACKED:
            running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(n)]
            together.append(sum(float(process.communicate()[0]) for process in running))
        yield f"| {name} | {' | '.join(f'{speed:.0f}' for speed in together)} |"
    yield ""


def _agreement(a: argparse.Namespace) -> Iterator[str]:
    """Pixels that lie on another side of some threshold when the same network runs on CPU and device."""
    yield "| method | largest map value | largest difference of maps in [0, 1] | pixels in another tally cell |"
    yield "|---|---|---|---|"
    view = _squares(64)
    for name in METHODS:
        method: Method = params.build(registry.discover("method").get(name).cls, name, {})
        network = cast(Any, method)
        if hasattr(method, "trained_as"):
            entry = registry.discover("network").get(network.trained_as)
            network = params.build(entry.cls, entry.name, network.network_params())
        state = _trained(network, Inputs(view, *view.pixel_moments(), a.device))
        maps = []
        for device in ("cpu", a.device):
            net = network.build(Task(1, 64, 0.25, "batch", 0))
            net.load_state_dict(state)
            inputs = Inputs(view, *view.pixel_moments(), device)
            maps.append(score(method, to_device(net, device), inputs, view.image_ids).maps)
        scaling = scalings(method, maps[0])[0]
        one, other = (scaling.apply(m) for m in maps)
        moved = np.floor(one.astype(np.float64) * 1000) != np.floor(other.astype(np.float64) * 1000)
        yield f"| {name} | {one.max():.2g} | {np.abs(one - other).max():.2g} | {moved.mean():.2%} |"
    yield ""


def _squares(size: int) -> WeakView:
    """Noise, with a bright square in every second image."""
    draw = np.random.default_rng(0)
    labels = np.arange(128, dtype=np.int64) % 2
    pixels = draw.integers(0, 120, (len(labels), size, size), dtype=np.uint8)
    for image in pixels[1::2]:
        y, x = draw.integers(0, size - 16, 2)
        image[y : y + 16, x : x + 16] += 100
    names = tuple(f"image {i}" for i in range(len(pixels)))
    return WeakView(names, names, labels, ImageRows.of(pixels), (Letterbox.fit(size, size, size),) * len(names), "")


def _trained(network: Network, inputs: Inputs) -> dict[str, torch.Tensor]:
    """Weights after a short training: maps of untrained ones are often blank."""
    device = inputs.labels.device.type
    recipe = ResolvedRecipe(64, 0.25, "batch", 8, 16, 1e-3, 0.0, 0.98, 1.0, True, "fp32")
    training = train(
        network, Task(1, 64, 0.25, "batch", 0), recipe, inputs, inputs, start_seed=0, order_seed=0, device=device,
        n_keep=1, prefer=lambda epoch: (-epoch.epoch,),
    )  # fmt: skip
    return training.candidates[0].state


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
