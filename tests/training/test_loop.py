"""The training loop: repeatable, labels only, honest about what it keeps."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from wsl_bench import params, registry
from wsl_bench.data.geometry import Letterbox
from wsl_bench.data.rows import ImageRows
from wsl_bench.data.views import WeakView
from wsl_bench.errors import MethodError
from wsl_bench.method import Batch, Network, Task
from wsl_bench.protocol.rules import Rules
from wsl_bench.store.trainings import load_snapshot, save_snapshot, save_training
from wsl_bench.training.inputs import Inputs
from wsl_bench.training.loop import Epoch, Snapshot, Training, probabilities, seed_from, train
from wsl_bench.training.recipe import ResolvedRecipe

SIZE = 16


def _recipe(**values: Any) -> ResolvedRecipe:
    fields = {
        "image_size": SIZE, "width": 0.05, "norm": "batch", "epochs": 2, "batch_size": 4, "learning_rate": 0.01,
        "weight_decay": 0.0, "beta2": 0.999, "clip": 1.0, "flip": True, "precision": "fp32",
    }  # fmt: skip
    return ResolvedRecipe(**{**fields, **values})


def _inputs(n: int, seed: int) -> Inputs:
    draw = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int64) % 2
    images = draw.integers(0, 120, (n, SIZE, SIZE), dtype=np.uint8)
    images[labels == 1, 4:10, 4:10] += 100
    names = tuple(f"im{i}" for i in range(n))
    view = WeakView(names, names, labels, ImageRows.of(images), (Letterbox.fit(SIZE, SIZE, SIZE),) * n, "")
    return Inputs(view, 70.0, 50.0, "cpu")


class Linear(Network):
    """The mean of the image, weighed; notes every batch it is shown."""

    seen: ClassVar[list[tuple[Tensor, Tensor, float]]] = []

    def build(self, task: Task) -> nn.Module:
        return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(16, 2))

    def loss(self, net: nn.Module, batch: Batch, progress: float) -> Tensor:
        self.seen.append((batch.images.detach().clone(), batch.labels.clone(), progress))
        return functional.cross_entropy(net(batch.images), batch.labels)


class Larger(Linear):
    """Another architecture, which draws more at its start and noise in its loss."""

    def build(self, task: Task) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, 8), nn.ReLU(), nn.Linear(8, 2))

    def loss(self, net: nn.Module, batch: Batch, progress: float) -> Tensor:
        return super().loss(net, batch, progress) + 0 * torch.rand(5).sum()


def _train(network: Network, rules: Rules | None = None, n_keep: int = 1, **values: Any) -> Training:
    given = {"start_seed": 1, "order_seed": 2, "n_train": 18} | values
    n_train, start_seed, order_seed = (given.pop(k) for k in ("n_train", "start_seed", "order_seed"))
    listeners = {name: given.pop(name) for name in ("report", "start", "save") if name in given}
    recipe, rules = _recipe(**given), rules or Rules()
    return train(
        network,
        Task(1, SIZE, recipe.width, recipe.norm, start_seed),
        recipe,
        _inputs(n_train, 0),
        _inputs(10, 1),
        start_seed=start_seed,
        order_seed=order_seed,
        device="cpu",
        n_keep=n_keep,
        prefer=lambda e: rules.preference(e.epoch, e.accuracy, e.cross_entropy),
        **listeners,
    )


def _infomask() -> Network:
    return cast(Network, params.build(registry.discover("method").get("infomask").cls, "infomask", {}))


def _same(one: Training, other: Training) -> bool:
    pairs = zip(one.candidates, other.candidates, strict=True)
    return all(torch.equal(a.state[name], b.state[name]) for a, b in pairs for name in a.state)


@pytest.mark.parametrize("make", [Linear, Larger, _infomask])
def test_the_same_seed_gives_the_same_weights_bit_for_bit(make: Any) -> None:
    first = _train(make(), n_keep=2)
    torch.rand(17)  # whatever the process has drawn in between
    second = _train(make(), n_keep=2)
    assert _same(first, second)
    assert first.history == second.history
    assert not _same(first, _train(make(), n_keep=2, start_seed=3))
    assert not _same(first, _train(make(), n_keep=2, order_seed=3))


@pytest.mark.parametrize("make", [Linear, Larger, _infomask])
@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_training_that_goes_on_ends_as_one_in_one_go(make: Any, after: int, tmp_path: Path) -> None:
    whole = _train(make(), n_keep=2, epochs=4)
    taken: list[Snapshot] = []
    _train(make(), n_keep=2, epochs=4, save=taken.append)
    assert [len(one.so_far.history) for one in taken] == [1, 2, 3]
    for snapshot in taken[:after]:
        save_snapshot(tmp_path, snapshot, 1.5)
    (tmp_path / "unfinished-abc.safetensors").write_bytes(b"torn")
    torch.rand(17)
    loaded = load_snapshot(tmp_path)
    assert loaded is not None
    assert loaded[1] == 1.5
    reported: list[int] = []
    rest = _train(make(), n_keep=2, epochs=4, start=loaded[0], report=lambda e: reported.append(e.epoch))
    assert reported == list(range(after + 1, 5))
    assert _same(whole, rest)
    assert whole.history == rest.history
    # The control: going on without the generators' state ends elsewhere, where anything is drawn at all.
    drawn = dict(loaded[0].tensors) | {"generator.order": torch.Generator().manual_seed(9).get_state()}
    assert not _same(whole, _train(make(), n_keep=2, epochs=4, start=Snapshot(loaded[0].so_far, drawn)))
    save_training(tmp_path, rest)
    assert load_snapshot(tmp_path) is None
    assert not list(tmp_path.glob("unfinished-*"))


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty"])
def test_a_damaged_snapshot_is_no_snapshot(damage: str, tmp_path: Path) -> None:
    taken: list[Snapshot] = []
    _train(Linear(), epochs=2, save=taken.append)
    save_snapshot(tmp_path, taken[0], 0.0)
    (path,) = tmp_path.glob("unfinished-*")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes({"truncate": data[:-3], "flip": data, "empty": b""}[damage])
    assert load_snapshot(tmp_path) is None


def _shown(network: Network, **values: Any) -> list[tuple[Tensor, Tensor, float]]:
    Linear.seen.clear()
    _train(network, **values)
    return list(Linear.seen)


def test_methods_of_one_seed_share_the_order_of_images_and_flips() -> None:
    first, second = _shown(Linear(), start_seed=1), _shown(Larger(), start_seed=99)
    assert len(first) == len(second) == 2 * (18 // 4)
    for (images, labels, at), (same_images, same_labels, same_at) in zip(first, second, strict=True):
        assert torch.equal(images, same_images)
        assert torch.equal(labels, same_labels)
        assert at == same_at
    other = _shown(Linear(), order_seed=5)
    assert not all(torch.equal(a[0], b[0]) for a, b in zip(first, other, strict=True))


def test_an_epoch_shows_no_image_twice_and_flips_some() -> None:
    plain = {image.numpy().tobytes() for image in _inputs(18, 0).images(slice(None))}
    images = torch.cat([images for images, _, _ in _shown(Linear(), epochs=1, flip=False)])
    assert len({image.numpy().tobytes() for image in images} & plain) == 16
    flipped = torch.cat([images for images, _, _ in _shown(Linear(), epochs=1, flip=True)])
    straight = [image.contiguous().numpy().tobytes() in plain for image in flipped]
    assert any(straight)
    assert not all(straight)
    unflipped = [image.flip(-1).contiguous().numpy().tobytes() in plain for image in flipped]
    assert all(a != b for a, b in zip(straight, unflipped, strict=True))


def test_progress_runs_from_zero_towards_one() -> None:
    progress = [at for _, _, at in _shown(Linear(), epochs=5)]
    assert progress[0] == 0
    assert all(0 < b - a < 0.1 for a, b in itertools.pairwise(progress))
    assert progress[-1] < 1


def test_a_batch_has_images_and_labels_alone() -> None:
    class Peeking(Linear):
        """Reaches for ground truth."""

        def loss(self, net: nn.Module, batch: Batch, progress: float) -> Tensor:
            return cast(Tensor, cast(Any, batch).boxes.sum())

    with pytest.raises(AttributeError, match="'Batch' object has no attribute 'boxes'"):
        _train(Peeking())
    batch = Batch(torch.zeros(1, 1, 2, 2), torch.zeros(1))
    with pytest.raises((AttributeError, TypeError)):
        cast(Any, batch).boxes = torch.zeros(4)


class Failing(Linear):
    """Its loss is not finite from the second epoch on."""

    def loss(self, net: nn.Module, batch: Batch, progress: float) -> Tensor:
        return super().loss(net, batch, progress) * (math.nan if progress >= 0.5 else 1)


def test_a_loss_that_is_not_finite_is_named_with_its_epoch() -> None:
    with pytest.raises(MethodError, match="the training loss is nan in epoch 2"):
        _train(Failing())


def test_a_probability_that_is_not_finite_is_named() -> None:
    class Unsure(Linear):
        """Answers with NaN."""

        def probability(self, net: nn.Module, images: Tensor) -> Tensor:
            return torch.full((len(images),), math.nan)

    with pytest.raises(MethodError, match="probabilities on validation are not finite in epoch 1"):
        _train(Unsure())


def test_no_epoch_leaves_the_random_start() -> None:
    reported: list[Epoch] = []
    training = _train(Linear(), epochs=0, report=reported.append)
    torch.manual_seed(1)
    start = Linear().build(Task(1, SIZE, 1.0, "none", 1)).state_dict()
    [only] = training.candidates
    assert all(torch.equal(only.state[name], start[name]) for name in start)
    assert (only.epoch.epoch, len(reported), len(training.history)) == (0, 1, 1)
    assert math.isnan(only.epoch.loss)
    assert 0 <= only.epoch.accuracy <= 1


def test_it_learns() -> None:
    last = _train(Linear(), epochs=12).history[-1]
    assert last.accuracy == 1
    assert last.auc == 1


class Scripted(Linear):
    """Its accuracy and cross-entropy on validation follow a script, epoch by epoch."""

    script: ClassVar[list[tuple[int, float]]] = [(8, 0.6), (9, 0.7), (9, 0.9), (10, 0.6), (9, 0.7)]
    at: ClassVar[list[int]] = [0]

    def probability(self, net: nn.Module, images: Tensor) -> Tensor:
        right, sure = self.script[self.at[0] % 5]
        self.at[0] += 1
        truth = torch.arange(len(images)) % 2
        said = torch.where(torch.arange(len(images)) < right, truth, 1 - truth)
        return said * sure + (1 - said) * (1 - sure)


@pytest.mark.parametrize(
    ("rule", "n_keep", "kept"),
    [
        ("accurate_then_localized", 5, [4, 3, 2, 5, 1]),  # accuracy; cross-entropy; the earlier
        ("accurate_then_localized", 2, [4, 3]),
        ("best_accuracy", 1, [4]),
        ("last", 1, [5]),
    ],
)
def test_the_best_epochs_are_kept_best_first(rule: Any, n_keep: int, kept: list[int]) -> None:
    Scripted.at[0] = 0
    training = _train(Scripted(), Rules(checkpoint=rule), n_keep=n_keep, epochs=5)
    ordered = [(c.epoch.accuracy, c.epoch.cross_entropy) for c in training.candidates]
    assert [c.epoch.epoch for c in training.candidates] == kept, ordered
    assert [e.epoch for e in training.history] == [1, 2, 3, 4, 5]


def test_kept_weights_are_copies() -> None:
    first, second = _train(Linear(), n_keep=2, n_train=40).candidates
    assert any(not torch.equal(first.state[name], second.state[name]) for name in first.state)


@pytest.mark.parametrize(("epochs", "kept"), [(0, 1), (1, 1), (4, 1), (5, 2), (17, 5), (20, 5), (100, 5)])
def test_the_number_of_candidates(epochs: int, kept: int) -> None:
    assert Rules().n_candidates(epochs) == kept
    assert Rules(checkpoint="best_localization").n_candidates(epochs) == max(1, epochs)
    assert Rules(checkpoint="last").n_candidates(epochs) == 1


def test_probabilities_leave_the_net_in_evaluation_mode() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(SIZE * SIZE, 2)).train()
    found = probabilities(Linear(), net, _inputs(70, 0), "fp32")  # more than one batch
    assert found.shape == (70,)
    assert not net.training
    with torch.inference_mode():
        expected = torch.softmax(net(_inputs(70, 0).images(slice(None))), 1)[:, 1]
    np.testing.assert_allclose(found, expected.double().numpy(), atol=1e-6)


def test_fewer_images_than_a_batch_still_make_a_step() -> None:
    assert len(_shown(Linear(), n_train=3, epochs=2)) == 2


def test_seeds_from_integers_are_63_bit_and_differ() -> None:
    seeds = {seed_from(a, b) for a in range(10) for b in range(10)}
    assert len(seeds) == 100
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_from(1, 2) == seed_from(1, 2) != seed_from(2, 1)


def test_a_split_goes_to_the_gpu_whole_where_it_takes_less_than_half_of_what_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from wsl_bench.training import inputs

    names = tuple(map(str, range(6)))
    view = WeakView(
        names, names, np.zeros(6, np.int64), ImageRows.of(np.zeros((6, SIZE, SIZE), np.uint8)),
        (Letterbox.fit(SIZE, SIZE, SIZE),) * 6, "",
    )  # fmt: skip
    for free, fits in ((12 * SIZE**2, True), (12 * SIZE**2 - 2, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda free=free: (free, 10**12))
        assert inputs._fits_gpu(view, "cuda") is fits
        assert not inputs._fits_gpu(view, "cpu")


def test_batches_come_from_rows_wherever_they_lie() -> None:
    """The rows of a split may be scattered over a file that others share."""
    whole = np.random.default_rng(0).integers(0, 256, (20, SIZE, SIZE), np.uint8)
    rows, names = np.array([7, 3, 19, 0]), ("a", "b", "c", "d")
    frames = (Letterbox.fit(SIZE, SIZE, SIZE),) * 4
    scattered = Inputs(
        WeakView(names, names, np.zeros(4, np.int64), ImageRows(whole, rows), frames, ""), 100, 50, "cpu"
    )
    together = Inputs(
        WeakView(names, names, np.zeros(4, np.int64), ImageRows.of(whole[rows]), frames, ""), 100, 50, "cpu"
    )
    for index in (slice(None), slice(1, 3), torch.tensor([3, 0, 0])):
        assert torch.equal(scattered.images(index), together.images(index))
    expected = (whole[[0, 7]].astype(np.float32) - 100) / 50
    np.testing.assert_array_equal(scattered.images(torch.tensor([3, 0])).squeeze(1).numpy(), expected)
