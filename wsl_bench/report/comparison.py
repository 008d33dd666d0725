"""Score maps and masks of all methods on the same test images (InfoMask paper, Figure 3)."""

from __future__ import annotations

from wsl_bench.report.examples import Examples, Shown, choose_examples
from wsl_bench.report.pictures import (
    LINE_HEIGHT,
    Sheet,
    fitted,
    heading,
    inside,
    mask_of,
    show_image,
    show_map,
    wrapped,
)
from wsl_bench.report.source import Drawn, Source
from wsl_bench.report.style import COLUMN
from wsl_bench.store.display import Display

MOST = 7  # methods in one figure; more make further figures of the same images
_LABELS = 0.42  # inches, left of the pictures
_GAP = 0.03
_QUANTILE = "quantile"
_LARGEST = 0.8
_NUMBER = 0.12  # below each mask


def draw_comparison(source: Source, dataset: str) -> list[Drawn]:
    """A row an image; columns: input above its ground truth, then each method's score map above its mask.

    Raises:
        NothingToDraw, StoreError: see `examples.choose_examples`.
    """
    examples = choose_examples(source, dataset)
    display = source.display(dataset)
    parts = [examples.trainings[i : i + MOST] for i in range(0, len(examples.trainings), MOST)]
    drawn = []
    for number, trainings in enumerate(parts, 1):
        name = "comparison" if number == 1 else f"comparison_{number}"
        sheet = _sheet(source, display, examples, trainings)
        caption = _caption(source, dataset, examples, trainings)
        drawn.append(Drawn(source.file_name(name, dataset), caption, sheet.figure))
    return drawn


def _sheet(source: Source, display: Display, examples: Examples, trainings: tuple[Shown, ...]) -> Sheet:
    width = min(_LARGEST, (COLUMN - _LABELS - 0.04) / (1 + len(trainings)) - _GAP)
    tallest = max(h / w for _, _, h, w in display.inside[list(examples.at)].tolist())
    height = width * min(2.0, tallest)
    below = wrapped(f"{examples.rule()} Numbers below masks: IoU.")
    longest = max(len(line) for one in trainings for line in [_QUANTILE, *heading(one.name).split("\n")])
    top, step = 0.1 + 0.063 * longest, 2 * height + 3 * _GAP + _NUMBER
    end = top + len(examples.at) * step
    sheet = Sheet(end + 0.1 + LINE_HEIGHT * len(below))
    _headings(sheet, trainings, top, width)
    maps = [source.maps(one.record)["score"] for one in trainings]
    for i, j in enumerate(examples.at):
        y = top + i * step
        sheet.text(0.03, y + height, f"{100 * examples.quantiles[i]:.0f} %\n{examples.mean_iou[i]:.2f}", va="center")
        lines = [y, y + height + _GAP]
        upper, lower = (sheet.axes(_LABELS, line, width, height) for line in lines)
        show_image(upper, display, j, outlined=False)
        show_image(lower, display, j, outlined=True)
        for m, (one, own) in enumerate(zip(trainings, maps, strict=True), 1):
            upper, lower = (sheet.axes(_LABELS + m * (width + _GAP), line, width, height) for line in lines)
            show_map(upper, fitted(own[j], display, j), 0, 1, display.truth[j][inside(display, j)])
            show_image(lower, display, j, outlined=True, mask=mask_of(own[j], one.threshold, display, j))
            iou = examples.iou[i, examples.trainings.index(one)]
            middle = _LABELS + m * (width + _GAP) + width / 2
            sheet.text(middle, y + 2 * height + 1.3 * _GAP, f"{iou:.2f}".removeprefix("0"), ha="center")
    sheet.text(0.05, end + 0.04, "\n".join(below))
    return sheet


def _headings(sheet: Sheet, trainings: tuple[Shown, ...], top: float, width: float) -> None:
    how = {"va": "bottom", "ha": "center", "rotation": 90, "linespacing": 0.95}
    sheet.text(0.2, top - 0.04, f"{_QUANTILE},\nmean IoU", **how)
    for m, text in enumerate(["input,\ntruth", *(heading(one.name) for one in trainings)]):
        sheet.text(_LABELS + m * (width + _GAP) + width / 2, top - 0.04, text, **how)


def _caption(source: Source, dataset: str, examples: Examples, trainings: tuple[Shown, ...]) -> str:
    images = "; ".join(
        f"{100 * q:.0f} %: {name} ({mean:.3f})"
        for q, name, mean in zip(examples.quantiles, examples.ids, examples.mean_iou, strict=True)
    )
    thresholds = ", ".join(f"{one.name} {one.threshold:g}" for one in trainings)
    missing = f" Without a training of this seed, not shown: {', '.join(examples.missing)}." if examples.missing else ""
    return (
        f"{examples.rule()} Chosen images with their mean IoU: {images}. Each row: above, the input as the network saw "
        "it and each method's score map from 0 (dark) to 1 (yellow); below, the ground truth's outline (yellow) and "
        f"each method's mask (orange) at its frozen threshold ({thresholds}). Maps are drawn at the network's "
        f"resolution, for the eye; IoU figures are from the tallies, at the ground truth's.{missing} "
        f"{source.about(dataset, source.shown(dataset))}"
    )
