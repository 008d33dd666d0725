"""Checkpoint rule, threshold rule and map scale against loops written from their definitions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from conftest import tiny_folder
from PIL import Image
from scipy import ndimage
from study_helper import plan_of, run_plan

from wsl_bench import PriorMethod
from wsl_bench.errors import MethodError, UsageError
from wsl_bench.method import PriorData, Task
from wsl_bench.metrics.criteria import CriterionName
from wsl_bench.metrics.truth import rasterize_boxes
from wsl_bench.plan import make_plan
from wsl_bench.protocol.operating_point import ValidationSplit, fit_threshold
from wsl_bench.protocol.rules import Rules
from wsl_bench.protocol.score_maps import Scaling, scalings, score, to_truth_resolution
from wsl_bench.spec import RunSpec
from wsl_bench.training.inputs import Inputs


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("data") / "set")


def val_of(study: Path, out: Path) -> ValidationSplit:
    return ValidationSplit.load(plan_of(study, out).datasets[0].prepared.folder)


def test_the_threshold_is_the_best_of_a_plain_loop(study: Path, tmp_path: Path) -> None:
    val = val_of(study, tmp_path)
    raw = np.random.default_rng(0).random((len(val.weak), 8, 8)).astype(np.float32)
    scaling = Scaling("none", 1.0)
    fit = fit_threshold(raw, (scaling,), val, Rules())
    best_k, best = 0, -1.0
    for k in range(1, 1001):
        each = []
        for i, frame in enumerate(val.weak.frames):
            if val.truth.located[i]:
                predicted = to_truth_resolution(raw[i], frame) >= np.float32(k / 1000)
                truth = rasterize_boxes(val.truth.truths[i].boxes, frame.height, frame.width)
                each.append((predicted & truth).sum() / (predicted | truth).sum())
        if np.mean(each) > best + 1e-12:
            best_k, best = k, float(np.mean(each))
    assert fit.threshold == best_k / 1000
    assert fit.value == pytest.approx(best, abs=1e-12)


def loop_value(criterion: str, val: ValidationSplit, raw: npt.NDArray[np.float32], k: int) -> float:
    """A criterion at one threshold by plain loops over the located validation images."""
    each: dict[str, list[float]] = {name: [] for name in ("dice", "iop", "fnr", "boxacc")}
    for i in np.flatnonzero(val.truth.located):
        frame, (box,) = val.weak.frames[i], val.truth.truths[i].boxes
        predicted = to_truth_resolution(raw[i], frame) >= np.float32(k / 1000)
        truth = rasterize_boxes(box[None], frame.height, frame.width)
        both = (predicted & truth).sum()
        each["dice"].append(2 * both / (predicted.sum() + truth.sum()))
        each["iop"].append(both / predicted.sum() if predicted.any() else 0.0)
        each["fnr"].append(1 - both / truth.sum())
        best = 0.0
        for rows, columns in ndimage.find_objects(ndimage.label(predicted, np.ones((3, 3)))[0]):
            height = max(0, min(rows.stop, box[1] + box[3]) - max(rows.start, box[1]))
            width = max(0, min(columns.stop, box[0] + box[2]) - max(columns.start, box[0]))
            areas = (rows.stop - rows.start) * (columns.stop - columns.start) + box[2] * box[3]
            best = max(best, height * width / (areas - height * width))
        each["boxacc"].append(sum(best >= level for level in (0.3, 0.5, 0.7)) / 3)
    means = {name: float(np.mean(values)) for name, values in each.items()}
    if criterion == "iop_at_fnr":
        return means["iop"] if means["fnr"] <= 0.4 + 1e-12 else -means["fnr"]
    return means[criterion]


@pytest.mark.parametrize("criterion", ["dice", "iop_at_fnr", "boxacc"])
def test_every_criterion_is_fitted(study: Path, tmp_path: Path, criterion: CriterionName) -> None:
    val = val_of(study, tmp_path)
    noise = np.random.default_rng(1).random((len(val.weak), 8, 8)).astype(np.float32)
    raw = noise * 0.3
    for i, frame in enumerate(val.weak.frames):
        mask = val.truth.truths[i].pixels(frame.height, frame.width)
        raw[i] += 0.7 * np.asarray(Image.fromarray(frame.apply(mask.astype(np.uint8) * 255)).resize((8, 8))) / 255
    rules = Rules(criterion=criterion, max_fnr=0.4 if criterion == "iop_at_fnr" else None)
    fit = fit_threshold(raw, (Scaling("none", 1.0),), val, rules)
    curve = [loop_value(criterion, val, raw, k) for k in range(1, 1001)]
    assert fit.value == pytest.approx(max(curve), abs=1e-12)
    assert fit.threshold == (int(np.argmax(np.array(curve) >= max(curve) - 1e-12)) + 1) / 1000
    assert fit.value > 0


def test_the_better_scaling_is_taken_and_ties_go_to_the_first(study: Path, tmp_path: Path) -> None:
    val = val_of(study, tmp_path)
    # One image's map is a thousand times the others': a common scale loses all but it.
    maps = []
    for i, frame in enumerate(val.weak.frames):
        truth = val.truth.truths[i].pixels(frame.height, frame.width)
        maps.append(frame.apply((truth * 255).astype(np.uint8)).astype(np.float32) + 1)
    raw = np.stack(maps)
    raw[np.flatnonzero(val.truth.located)[0]] *= 1000
    dataset, image = Scaling("dataset", float(raw.max())), Scaling("image", 1.0)
    assert fit_threshold(raw, (dataset, image), val, Rules()).scaling == image
    blank = np.zeros_like(raw)
    assert fit_threshold(blank, (dataset, image), val, Rules()).scaling == dataset


def test_scalings_by_hand() -> None:
    raw = np.array([[[0.0, 2.0], [4.0, -1.0]], [[0.0, 0.0], [0.0, 0.0]]], np.float32)
    image = Scaling("image", 1.0).apply(raw)
    np.testing.assert_array_equal(image[0], [[0, 0.5], [1, 0]])
    np.testing.assert_array_equal(image[1], np.zeros((2, 2)))  # a blank map stays blank
    np.testing.assert_array_equal(Scaling("dataset", 2.0).apply(raw)[0], [[0, 1], [1, 0]])


class Ramp(PriorMethod):
    """A test's own map."""

    bounded = False

    def localize(self, net: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Row number."""
        return torch.arange(10.0)[None, :, None].expand(len(images), 10, 10)

    def fit(self, task: Task, data: PriorData) -> torch.nn.Module:
        """Nothing."""
        return torch.nn.Identity()


def test_the_dataset_scale_is_the_percentile_of_validation_maps() -> None:
    raw = np.random.default_rng(1).random((5, 7, 7)).astype(np.float32)
    dataset, image = scalings(Ramp(), raw)
    assert (dataset.kind, image.kind) == ("dataset", "image")
    assert dataset.factor == pytest.approx(np.quantile(raw, 0.999))
    assert scalings(Ramp(), np.zeros((2, 3, 3), np.float32))[0].factor == 1.0


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: m[:, None], r"expected shape \(\d+, h, w\)"),
        (lambda m: m * float("nan"), "of image 'case048' is not finite"),
        (lambda m: m[:1], "expected shape"),
    ],
)
def test_broken_maps_are_refused_by_name(study: Path, tmp_path: Path, spoil: object, message: str) -> None:
    val = val_of(study, tmp_path)
    inputs = Inputs(val.weak, 100.0, 50.0, "cpu")

    class Broken(Ramp):
        """Spoils the ramp."""

        def localize(self, net: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
            """The ramp, spoilt."""
            return spoil(super().localize(net, images))  # type: ignore[operator,no-any-return]

    with pytest.raises(MethodError, match=message):
        score(Broken(), torch.nn.Identity(), inputs, val.weak.image_ids)


def test_a_bounded_method_out_of_bounds_is_refused(study: Path, tmp_path: Path) -> None:
    val = val_of(study, tmp_path)

    class Bounded(Ramp):
        """Says [0, 1], gives up to 9."""

        bounded = True

    with pytest.raises(MethodError, match=r"in \[0, 1\].*bounded = False"):
        score(Bounded(), torch.nn.Identity(), Inputs(val.weak, 100.0, 50.0, "cpu"), val.weak.image_ids)


def test_number_of_candidates() -> None:
    rules = Rules()
    assert [rules.n_candidates(e) for e in (0, 1, 4, 5, 12, 17, 100)] == [1, 1, 1, 2, 3, 5, 5]
    assert Rules(checkpoint="best_localization").n_candidates(12) == 12
    assert Rules(checkpoint="last").n_candidates(12) == 1
    with pytest.raises(UsageError, match="accurate_then_localized"):
        Rules(checkpoint="newest")  # type: ignore[arg-type]


def test_preference_order() -> None:
    epochs = [(1, 0.8, 0.5), (2, 0.9, 0.6), (3, 0.9, 0.4), (4, 0.9, 0.4)]
    order = sorted(epochs, key=lambda e: Rules().preference(*e))
    assert [e[0] for e in order] == [3, 4, 2, 1]
    assert min(epochs, key=lambda e: Rules(checkpoint="last").preference(*e))[0] == 4


@pytest.mark.parametrize("rule", ["last", "best_accuracy", "best_localization"])
def test_checkpoint_rules_choose_what_they_say(study: Path, tmp_path: Path, rule: str) -> None:
    plan = plan_of(study, tmp_path, methods=("featuremask",), checkpoint=rule)
    records, _ = run_plan(plan, tmp_path)
    content = records["featuremask", 0].content
    history = content["history"]
    chosen = content["operating_point"]["epoch"]
    if rule == "last":
        assert chosen == 3
    if rule == "best_accuracy":
        best = min(history, key=lambda e: (-e["accuracy"], e["cross_entropy"], e["epoch"]))
        assert chosen == best["epoch"]
    assert content["checkpoint"]["file"].endswith(f"epoch-{chosen:03d}.safetensors")
    assert content["rules"]["checkpoint"] == rule


def test_post_hoc_methods_share_one_training(study: Path, tmp_path: Path) -> None:
    plan = plan_of(study, tmp_path, methods=("gradcam", "gradcam_encoder", "featuremask"))
    records, events = run_plan(plan, tmp_path)
    epochs = [e["label"] for e in events if e["event"] == "epoch" and e["epoch"] > 0]
    assert sum("baseline" in label for label in epochs) == 3  # one training of three epochs
    assert sum("featuremask" in label for label in epochs) == 3
    a, b = records["gradcam", 0].content, records["gradcam_encoder", 0].content
    assert a["history"] == b["history"]
    assert a["key_parts"]["training"] == b["key_parts"]["training"]


@pytest.mark.parametrize(("settings", "n_trainings"), [({"recipe.epochs": "2"}, 1), ({"infomask_asis.tau": "0.4"}, 2)])
def test_a_variant_with_the_bases_parameters_and_recipe_shares_its_training(
    study: Path, tmp_path: Path, settings: dict[str, str], n_trainings: int
) -> None:
    """infomask_asis takes more epochs, unless the user says how many, or the bound of so small a dataset does."""
    same = ("infomask[symmetric_start=none,polarity_start=false]", "infomask_asis")
    spec = RunSpec(methods=same, seeds=(0,), datasets=(str(study),), settings=settings)
    plan = make_plan(spec, tmp_path, device="cpu", precision="fp32")
    keys = {job.training_key for job in plan.jobs if job.trained_by and job.trained_by[1] == "infomask"}
    assert len(keys) == n_trainings
