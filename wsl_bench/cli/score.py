"""`wslbench score`: measure maps that another tool has made."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from wsl_bench.cli.console import out as console
from wsl_bench.cli.folder import check_folder, claimed, default_out
from wsl_bench.cli.run import Workers, finish
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
    skip_corrupt: Annotated[bool, typer.Option(help="Leave out images that cannot be read, and list them.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder of a run, new or not. Default: runs/DATASET.")] = None,
) -> int:
    """Score heatmaps of any tool by the same protocol, beside the sanity rows and whatever the run holds."""
    from wsl_bench.external.read import open_maps
    from wsl_bench.external.score import External
    from wsl_bench.metrics.wsolevaluation import require_opencv

    if map_scale not in ("auto", "none", "image"):
        raise UsageError(f"--map-scale {map_scale}: expected auto, none or image.")
    if compat not in (None, "wsolevaluation"):
        raise UsageError(f"--compat {compat}: expected wsolevaluation.")
    if compat is not None:
        require_opencv()  # now, not after the work
    folder = out if out is not None else default_out((datasets,))
    rules = {"criterion": criterion, "max_fnr": max_fnr, "min_val_located": min_val_located}
    spec = _spec(folder, datasets, threshold, rules, list(settings or []), skip_corrupt)
    source = open_maps(maps)
    own_name = maps.resolve().name if maps.is_dir() else maps.stem
    external = External(name or own_name, seed, threshold, map_scale)  # type: ignore[arg-type]
    external.check()
    check_folder(folder)
    with claimed(folder):
        return _score(source, external, spec, folder, compat)


def _spec(
    folder: Path, dataset: str, threshold: float | None, rules: dict[str, Any], settings: list[str], skip_corrupt: bool
) -> Any:
    """The sanity rows on the dataset, under the protocol of the folder's run if there is one."""
    from wsl_bench import spec as specs
    from wsl_bench.selection import find_dataset
    from wsl_bench.store.run_file import NAME, read_run

    planned = read_run(folder)["planned"] if (folder / NAME).is_file() else {}
    before = specs.read_study(folder / "study.toml") if planned else {}
    fields = {k: v for k, v in rules.items() if v is not None} | {"set": specs.parse_settings(settings)}
    spec = specs.with_fields(specs.with_fields(specs.RunSpec(), before), fields)
    entry, _, name, _ = find_dataset(dataset)
    reached = {k: v for k, v in spec.settings.items() if k.startswith(("recipe.", f"{entry.name}."))}
    return dataclasses.replace(
        spec,
        methods=("sanity",),
        datasets=(dataset,),
        seeds=tuple(planned[name]["seeds"]) if name in planned else (0,),
        thresholds=(specs.VAL if threshold is None else specs.parse_thresholds(f"{threshold}")[0],),
        settings={**reached, **fields["set"]},
        skip_corrupt=spec.skip_corrupt or skip_corrupt,
    )


def _score(source: Any, external: Any, spec: Any, folder: Path, compat: str | None) -> int:
    from wsl_bench import study
    from wsl_bench.cli.progress import Preparing
    from wsl_bench.external.score import check_fit, check_run, score_maps
    from wsl_bench.store.run_file import NAME, read_run

    checked: list[str] = []

    def check(plan: Any) -> None:
        dataset = plan.datasets[0]
        planned = read_run(folder)["planned"] if (folder / NAME).is_file() else {}
        lost = study.lost_by(plan, folder)
        if lost:
            raise UsageError(
                f"--out {folder}: {len(lost)} of its cells were made by another version of the code "
                f"(first: {lost[0]}), and a table mixes no versions. Run the study again first, or choose "
                "another --out."
            )
        methods = [method for method, _ in planned.get(dataset.name, {"methods": []})["methods"]]
        check_run(external, dataset.name, folder, methods)
        checked.append(check_fit(source, external, dataset))

    with Preparing(console) as preparing:
        plan = study.open_study(spec, folder, preparing.update, preparing.say, check)
    dataset = plan.datasets[0]
    if score_maps(source, checked[0], external, plan.rules, dataset, folder):
        console.print(f"{external.name}, seed {external.seed}: takes the place of what was scored before.")
    code = finish(plan, folder, Workers())
    if compat is not None:
        _print_compat(source, dataset.prepared.folder)
    return code


def _print_compat(source: Any, prepared: Path) -> None:
    from wsl_bench.data.prepared import load_truth, load_weak
    from wsl_bench.external.compat import wsolevaluation_figures

    figures = wsolevaluation_figures(source, load_weak(prepared, "test"), load_truth(prepared, "test"))
    shown = ", ".join(f"{name} {value:.2f}" for name, value in figures.items())
    console.print(f"As wsolevaluation counts (percent, thresholds chosen on test): {shown}", soft_wrap=True)
