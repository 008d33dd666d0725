"""`wslbench score`: measure maps that another tool has made."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from wsl_bench.cli.console import out as console
from wsl_bench.cli.folder import check_folder, claimed, default_out
from wsl_bench.cli.run import default_jobs
from wsl_bench.errors import UsageError


def score(
    maps: Annotated[Path, typer.Argument(help="Folder of .npy, .npz, .png, .tif maps, or one .npz or .safetensors.")],
    datasets: Annotated[str, typer.Option(help="The dataset whose images these are: a name or a directory.")],
    threshold: Annotated[
        float | None, typer.Option(help="A fixed threshold. Default: fitted on the maps of the validation images.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the row. Default: that of the folder or file.")] = None,
    seed: Annotated[int, typer.Option(help="Which training of theirs, should there be several.", min=0)] = 0,
    map_scale: Annotated[
        str, typer.Option(help="none (as they are), image (each over its maximum), auto (the better on validation).")
    ] = "auto",
    settings: Annotated[list[str] | None, typer.Option("--set", help="Parameters of the dataset.")] = None,
    criterion: Annotated[str | None, typer.Option(help="iou (default), dice, iop_at_fnr or boxacc.")] = None,
    max_fnr: Annotated[float | None, typer.Option(help="Of iop_at_fnr. Default: 0.5.")] = None,
    min_val_located: Annotated[int | None, typer.Option(help="Default: 20.")] = None,
    compat: Annotated[
        str | None, typer.Option(help="wsolevaluation: show its figures too (thresholds chosen on test; unranked).")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of a run, new or not. Default: runs/DATASET.")] = None,
) -> int:
    """Score heatmaps of any tool by the same protocol, beside the sanity rows and whatever the run holds."""
    from wsl_bench.external.read import open_maps
    from wsl_bench.external.score import External

    if map_scale not in ("auto", "none", "image"):
        raise UsageError(f"--map-scale {map_scale}: expected auto, none or image.")
    if compat not in (None, "wsolevaluation"):
        raise UsageError(f"--compat {compat}: expected wsolevaluation.")
    folder = out if out is not None else default_out((datasets,))
    rules = {"criterion": criterion, "max_fnr": max_fnr, "min_val_located": min_val_located}
    spec = _spec(folder, datasets, threshold, rules, list(settings or []))
    source = open_maps(maps)
    external = External(name or maps.stem, seed, threshold, map_scale)  # type: ignore[arg-type]
    external.check()
    check_folder(folder)
    with claimed(folder):
        return _score(source, external, spec, folder, compat)


def _spec(folder: Path, dataset: str, threshold: float | None, rules: dict[str, Any], settings: list[str]) -> Any:
    """The sanity rows on the dataset, under the protocol of the folder's run if there is one."""
    from wsl_bench import spec as specs

    study = folder / "study.toml"
    base = specs.with_fields(specs.RunSpec(seeds=(0,)), specs.read_study(study) if study.is_file() else {})
    rule = specs.VAL if threshold is None else specs.parse_thresholds(f"{threshold}")[0]
    fields = {k: v for k, v in rules.items() if v is not None} | {"set": specs.parse_settings(settings)}
    spec = specs.with_fields(base, fields)
    reached = {k: v for k, v in spec.settings.items() if k.startswith(("recipe.", f"{dataset.partition('[')[0]}."))}
    return dataclasses.replace(
        spec, methods=("sanity",), datasets=(dataset,), thresholds=(rule,), settings={**reached, **fields["set"]}
    )


def _score(source: Any, external: Any, spec: Any, folder: Path, compat: str | None) -> int:
    from wsl_bench import study
    from wsl_bench.cli.progress import Preparing, Running
    from wsl_bench.external.score import check_fit, score_maps
    from wsl_bench.leaderboard.terminal import print_leaderboard

    checked: list[str] = []
    with Preparing(console) as preparing:
        plan = study.open_study(
            spec, folder, preparing.update, lambda plan: checked.append(check_fit(source, external, plan.datasets[0]))
        )
    dataset = plan.datasets[0]
    score_maps(source, checked[0], external, plan.rules, dataset, folder)
    todo = study.remaining(plan, folder, retry_failed=False)
    n_workers = default_jobs(plan)
    with Running(console, todo, n_workers) as running:
        board = study.run_study(todo, folder, n_workers=n_workers, on_event=running.on_event)
    print_leaderboard(board, console)
    console.print(f"\nWritten to {escape(str(folder))}", soft_wrap=True)
    if compat is not None:
        _print_compat(source, dataset.prepared.folder)
    return 0


def _print_compat(source: Any, prepared: Path) -> None:
    from wsl_bench.data.prepare import load_truth, load_weak
    from wsl_bench.external.compat import wsolevaluation_figures

    figures = wsolevaluation_figures(source, load_weak(prepared, "test"), load_truth(prepared, "test"))
    shown = ", ".join(f"{name} {value:.2f}" for name, value in figures.items())
    console.print(f"As wsolevaluation counts (percent, thresholds chosen on test): {shown}", soft_wrap=True)
