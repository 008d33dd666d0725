"""`wslbench run`: the matrix of datasets, methods and seeds."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from wsl_bench.cli.console import errors
from wsl_bench.cli.console import out as console
from wsl_bench.cli.data_root import with_data_root
from wsl_bench.cli.folder import check_folder, claimed, default_out
from wsl_bench.errors import UsageError
from wsl_bench.processes import n_cores


def run(
    methods: Annotated[
        str | None,
        typer.Option(help="Names, groups (paper, sanity), `all`, NAME\\[param=value|value]. Default: paper."),
    ] = None,
    datasets: Annotated[
        str | None,
        typer.Option(help="Names, NAME\\[param=value] or directories with labels.csv. Default: phantom."),
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Where the files of the named datasets (rsna, nih) lie; see `datasets NAME`.")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="A count (5) or a list (0,7,11). Default: 3.")] = None,
    thresholds: Annotated[
        str | None, typer.Option(help="`val` (fitted on validation) and/or numbers. Default: val.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="infomask.alpha=0.003, phantom.size=96, recipe.width=1, ... Repeatable."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of every training. Default: by the size of the dataset.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side of the square input, pixels. Default: the dataset's.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(help="Worker processes. Default: one a core; one on a GPU.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda. Default: auto.")] = None,
    gpus: Annotated[
        str | None, typer.Option(help="GPUs to use, as nvidia-smi numbers them: 0,1. Default: all that are visible.")
    ] = None,
    per_gpu: Annotated[int, typer.Option(help="Worker processes that share a GPU.")] = 1,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds a training, or the evaluation of a cell, may take. Default: any.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A study file (TOML); options given here win over it.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run. Default: runs/DATASET.")] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(help="accurate_then_localized (default), best_accuracy, best_localization or last."),
    ] = None,
    criterion: Annotated[
        str | None,
        typer.Option(help="What is fitted on validation: iou (default), dice, iop_at_fnr or boxacc."),
    ] = None,
    max_fnr: Annotated[
        float | None, typer.Option(help="Highest mean FNR that iop_at_fnr may accept. Default: 0.5.")
    ] = None,
    min_val_located: Annotated[
        int | None, typer.Option(help="Fewest located validation positives to fit on. Default: 20.")
    ] = None,
    skip_corrupt: Annotated[bool, typer.Option(help="Leave out images that cannot be read, and list them.")] = False,
    retry_failed: Annotated[bool, typer.Option(help="Try again what failed before.")] = False,
) -> int:
    """Train and evaluate methods alike; write a leaderboard with intervals and densities.

    Lists are separated by commas. The same command again continues: finished cells are kept.
    """
    given = {
        "methods": methods, "datasets": datasets, "seeds": seeds, "thresholds": thresholds,
        "device": device, "checkpoint": checkpoint, "criterion": criterion, "max_fnr": max_fnr,
        "min_val_located": min_val_located,
    }  # fmt: skip
    extra = list(settings or [])
    extra += [f"recipe.epochs={epochs}"] if epochs is not None else []
    extra += [f"recipe.image_size={image_size}"] if image_size is not None else []
    spec = _spec(config, given, extra, skip_corrupt)
    spec = spec if data_root is None else with_data_root(spec, data_root)
    how = Workers(jobs, None if gpus is None else tuple(gpus.split(",")), per_gpu, timeout, retry_failed)
    how.check()
    folder = out if out is not None else default_out(spec.datasets)
    check_folder(folder)
    with claimed(folder):
        return _run(spec, folder, how)


@dataclass(frozen=True)
class Workers:
    """How the cells of a plan are worked off; changes no result.

    Attributes:
        jobs: worker processes; None: one a core, or `per_gpu` a GPU.
        gpus: the GPUs to use; None: all that are visible.
        timeout: seconds a training or an evaluation may take; None: any.
        retry_failed: try again what failed before.
    """

    jobs: int | None = None
    gpus: tuple[str, ...] | None = None
    per_gpu: int = 1
    timeout: float | None = None
    retry_failed: bool = False

    def check(self) -> None:
        """UsageError for numbers that make no sense."""
        if self.jobs is not None and self.jobs < 1:
            raise UsageError(f"--jobs {self.jobs}: expected at least 1.")
        if self.per_gpu < 1:
            raise UsageError(f"--per-gpu {self.per_gpu}: expected at least 1.")
        if self.timeout is not None and not self.timeout > 0:
            raise UsageError(f"--timeout {self.timeout:g}: expected seconds, more than 0.")
        if self.gpus is not None and not all(gpu.strip().isdigit() for gpu in self.gpus):
            raise UsageError(f"--gpus {','.join(self.gpus)}: expected numbers separated by commas, such as 0,1.")

    def on(self, device: str) -> tuple[int, tuple[str, ...]]:
        """Number of worker processes, and the GPUs that they take turns at.

        Raises:
            UsageError: GPUs are asked for and the run is on the CPU.
        """
        if device != "cuda":
            if self.gpus is not None:
                raise UsageError(f"--gpus {','.join(self.gpus)}: this run is on the CPU; see --device.")
            return self.jobs or n_cores(), ()
        gpus = self.gpus if self.gpus is not None else _visible_gpus()
        return self.jobs or max(1, len(gpus)) * self.per_gpu, gpus


def _spec(config: Path | None, given: dict[str, Any], settings: list[str], skip_corrupt: bool) -> Any:
    from wsl_bench import spec as specs
    from wsl_bench.params import split_selectors

    readers = {
        "methods": lambda text: tuple(split_selectors(text)),
        "datasets": lambda text: tuple(split_selectors(text)),
        "seeds": specs.parse_seeds,
        "thresholds": specs.parse_thresholds,
    }
    fields = {k: readers[k](v) if k in readers else v for k, v in given.items() if v is not None}
    spec = specs.with_fields(specs.RunSpec(), specs.read_study(config) if config else {})
    fields["set"] = specs.parse_settings(settings)
    if skip_corrupt:
        fields["skip_corrupt"] = True
    spec = specs.with_fields(spec, fields)
    for name in ("methods", "datasets"):
        if not getattr(spec, name):
            raise UsageError(f"--{name}: expected at least one.")
    if spec.device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {spec.device}: expected auto, cpu or cuda.")
    return spec


def _run(spec: Any, folder: Path, how: Workers) -> int:
    from wsl_bench import study
    from wsl_bench.cli.progress import Preparing
    from wsl_bench.registry import KINDS, discover

    for kind in KINDS:
        for broken in discover(kind).unavailable:
            errors.print(f"[yellow]unavailable:[/] {kind} {broken.name}: {escape(broken.reason)}", soft_wrap=True)
    with Preparing(console) as preparing:
        plan = study.open_study(spec, folder, preparing.update, preparing.say)
    return finish(plan, folder, how)


def finish(plan: Any, folder: Path, how: Workers) -> int:
    """Run what is left of a plan, show the table and what went wrong; the exit code."""
    from wsl_bench import study
    from wsl_bench.cli.progress import Running
    from wsl_bench.leaderboard.terminal import print_leaderboard

    for dataset in plan.datasets:
        for image, reason in dataset.prepared.skipped.items():
            errors.print(f"[yellow]skipped:[/] {escape(f'{image}: {reason}')}", soft_wrap=True)
    todo = study.remaining(plan, folder, retry_failed=how.retry_failed)
    for note in todo.notes:
        errors.print(f"[yellow]{escape(note)}[/]", soft_wrap=True)
    n_workers, gpus = how.on(plan.fixed["device"])
    with Running(console, todo, n_workers) as running:
        board = study.run_study(
            todo, folder, n_workers=n_workers, on_event=running.on_event, timeout=how.timeout, gpus=gpus
        )
    print_leaderboard(board, console)
    written = "leaderboard.csv, leaderboard.md, cells.csv, costs.csv, figures/"
    console.print(f"\nWritten to {escape(str(folder))}: {written}", soft_wrap=True)
    noted = {failure.slug: failure.content for failure in board.failures}
    failed = [f"{c['dataset']} / {c['method']} / seed {c['seed']}: {c['error']}" for c in noted.values()]
    # What failed on a full disk could not be noted, and is in no table.
    failed += [said for slug, said in running.failed.items() if slug not in noted]
    for said in failed:
        errors.print(f"[red]failed:[/] {escape(said)}", soft_wrap=True)
    if failed:
        errors.print("Other cells were not touched by this. --retry-failed tries these again.")
    return 1 if failed else 0


def _visible_gpus() -> tuple[str, ...]:
    """As CUDA_VISIBLE_DEVICES names them."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return tuple(visible.split(",")) if visible else tuple(map(str, range(torch.cuda.device_count())))
