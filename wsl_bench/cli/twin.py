"""`wslbench twin`: drawn images in a published dataset's layout, from its real label table."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from wsl_bench.cli.console import out as console
from wsl_bench.errors import UsageError


def twin(
    dataset: Annotated[str, typer.Argument(help="A dataset that can be drawn: rsna.")],
    labels: Annotated[Path, typer.Option(help="Its published label table (CSV, plain, .zip or .gz).")],
    output: Annotated[Path, typer.Option(help="Folder to write.")],
    size: Annotated[int, typer.Option(help="Side of the images, pixels; boxes are scaled to it.")] = 256,
    headers: Annotated[
        Path | None, typer.Option(help="A table of header fields (sex, age, view, spacing), if there is one.")
    ] = None,
    images: Annotated[int | None, typer.Option(help="Draw only so many, evenly from the table.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Processes that draw. Default: one a core.")] = None,
) -> None:
    """Draw a twin of a dataset: phantom radiographs with lesions at the real table's boxes, in the real layout.

    To rehearse and measure a study where the images are not at hand. Interrupted, the same command continues.
    """
    from wsl_bench.cli.progress import Preparing
    from wsl_bench.data.samples import Dataset, TwinRequest
    from wsl_bench.processes import n_cores
    from wsl_bench.registry import discover

    for name, value, low in (("--size", size, 32), ("--images", images, 1), ("--jobs", jobs, 1)):
        if value is not None and value < low:
            raise UsageError(f"{name} {value}: expected at least {low}.")
    cls = discover("dataset").get(dataset).cls
    assert issubclass(cls, Dataset)
    begun = time.monotonic()
    with Preparing(console) as preparing:
        request = TwinRequest(
            labels, headers, output, size, images, jobs or n_cores(),
            lambda done, total: preparing.update(f"{dataset}'s twin", done, total),
        )  # fmt: skip
        written = cls.write_twin(request)
    counts = ", ".join(f"{count:,} {what}" for what, count in written.items())
    console.print(f"{counts}; {time.monotonic() - begun:.0f} s, in {escape(str(output))}", soft_wrap=True)
    console.print(
        f'Use it: wslbench prepare "{dataset}\\[side={size}]" --data-root {escape(str(output))}', soft_wrap=True
    )
