"""The life of a cell: train (or take the training that is there), choose on val, evaluate test, record."""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from wsl_bench import params, registry
from wsl_bench.contained import contained
from wsl_bench.data.prepared import load_truth, load_weak
from wsl_bench.data.views import WeakView
from wsl_bench.method import Method, Network, PriorMethod, Task, TrainedMethod
from wsl_bench.protocol import evaluate
from wsl_bench.protocol.certainty import auc_interval
from wsl_bench.protocol.cost import measured
from wsl_bench.protocol.failures import describe
from wsl_bench.protocol.job import Cell, Job
from wsl_bench.protocol.operating_point import Fit, OperatingPoint, ValidationSplit, fit_threshold, freeze
from wsl_bench.protocol.prior_data import prior_data
from wsl_bench.protocol.score_maps import MAP_BATCH, RawScores, scalings, score
from wsl_bench.store.records import write_cost, write_failure, write_record
from wsl_bench.store.trainings import (
    checkpoint_reference,
    load_snapshot,
    load_training,
    save_snapshot,
    save_training,
)
from wsl_bench.training.device import give_back_memory, set_up_process, to_device
from wsl_bench.training.inputs import Inputs
from wsl_bench.training.loop import Checkpoint, Epoch, Snapshot, Training, train
from wsl_bench.versions import made_with

Report = Callable[[dict[str, Any]], None]


def run_job(job: Job, report: Report) -> None:
    """Run one training and every cell that shares it; a cell that fails does not stop the others.

    Args:
        report: called with {"event": "epoch" | "trained" | "cell", ...} as things happen.
    """
    registry.discover("network")  # imports every plug-in: before the process is set up, not after
    try:
        with _unspoilt(job.threads):
            _import_what_is_used(job)
            workshop = _Workshop(job, report)
            training = workshop.training()
    except (Exception, SystemExit) as error:
        for cell in job.cells:
            _fail(job, cell, error, report)
        return
    report({"event": "trained"})
    for cell in job.cells:
        try:
            with _unspoilt(job.threads), measured(job.device) as cost:
                workshop.evaluate(cell, training)
        except (Exception, SystemExit) as error:
            _fail(job, cell, error, report)
            continue
        trained = None if training is None else job.training_name()
        with contextlib.suppress(OSError):  # the result is safe; what it cost is worth no failure
            write_cost(Path(job.out), cell.slug, {"training": trained, "attempts": job.attempt, **cost})
        report({"event": "cell", "slug": cell.slug, "status": "done", "seconds": cost["seconds"]})


def _import_what_is_used(job: Job) -> None:
    """Import what methods and networks import where they use it: no cell is to be charged for it."""
    used = [registry.discover("method").get(cell.method) for cell in job.cells]
    if job.trained_by is not None:
        kind, name, _ = job.trained_by
        used.append(registry.discover(cast(registry.Kind, kind)).get(name))
    for entry in used:
        for library in cast(type[Method], entry.cls).imports:
            importlib.import_module(library)


@contextlib.contextmanager
def _unspoilt(threads: int) -> Iterator[None]:
    """A stretch of work that sees nothing of what the methods before it have set, nor those after it what it sets."""
    set_up_process(threads)
    with contained():
        yield
    give_back_memory()


class _Workshop:
    """What the cells of one job share: views, inputs, the training."""

    def __init__(self, job: Job, report: Report) -> None:
        self._job, self._report = job, report
        self._folder = Path(job.folder)
        self._train = load_weak(self._folder, "train")
        self._val = ValidationSplit.load(self._folder)
        self._n_located = int(self._val.truth.located.sum())
        self._mean, self._std = self._train.pixel_moments()
        self._val_inputs = self._inputs(self._val.weak)
        recipe = job.recipe
        self._task = Task(1, recipe.image_size, recipe.width, recipe.norm, job.start_seed)

    def training(self) -> Training | None:
        """The job's training: from disk if it is there and verifies, else trained now."""
        job = self._job
        if job.trained_by is None:
            return None
        folder = self._training_folder()
        found = load_training(folder)
        if found is not None:
            return found
        stands = load_snapshot(folder)
        begun = time.monotonic() - (stands[1] if stands else 0.0)
        with measured(job.device) as cost:
            training = train(
                self._network(),
                self._task,
                job.recipe,
                self._inputs(self._train),
                self._val_inputs,
                start_seed=job.start_seed,
                order_seed=job.order_seed,
                device=job.device,
                n_keep=job.rules.n_candidates(job.recipe.epochs),
                prefer=lambda e: job.rules.preference(e.epoch, e.accuracy, e.cross_entropy),
                report=self._report_epoch,
                start=stands[0] if stands else None,
                save=lambda snapshot: self._save(snapshot, time.monotonic() - begun),
            )
        cost["seconds"] = time.monotonic() - begun  # with what was spent before an interruption
        save_training(folder, training)
        with contextlib.suppress(OSError):
            write_cost(Path(job.out), job.training_name(), cost)
        return training

    def _save(self, snapshot: Snapshot, seconds: float) -> None:
        with contextlib.suppress(OSError):  # a full disk; the training itself needs none
            save_snapshot(self._training_folder(), snapshot, seconds)

    def evaluate(self, cell: Cell, training: Training | None) -> None:
        """Choose on validation, freeze, evaluate test, write the record."""
        method: Method = params.build(registry.discover("method").get(cell.method).cls, cell.method, cell.params)
        net, scores, point = self._choose(method, training)
        val = evaluate.tally(scores, point, self._val.weak, self._val.truth).to_arrays()
        record = self._record(cell, method, net, scores, point, training)
        del scores  # the maps of a large split take gigabytes
        weak, truth = load_weak(self._folder, "test"), load_truth(self._folder, "test")
        evaluate.check_test_is_unseen(point, weak, truth)
        inputs = self._inputs(weak)
        test_scores = score(method, net, inputs, weak.image_ids)
        artefacts = {
            "val": val,
            "test": evaluate.tally(test_scores, point, weak, truth).to_arrays(),
            "maps": self._display_maps(method, net, inputs, weak, test_scores, point),
        }
        write_record(Path(self._job.out), cell.slug, record, artefacts)

    def _choose(self, method: Method, training: Training | None) -> tuple[nn.Module, RawScores, OperatingPoint]:
        """The checkpoint, scaling and threshold, by the run's rules, on validation alone."""
        rules, ids = self._job.rules, self._val.weak.image_ids
        candidates = training.candidates if training is not None else (None,)
        if rules.applied(self._n_located) not in ("accurate_then_localized", "best_localization"):
            candidates = candidates[:1]
        best: tuple[nn.Module, RawScores, Fit | None, int] | None = None
        for checkpoint in candidates:
            net = self._net(method, checkpoint)
            scores = score(method, net, self._val_inputs, ids)
            fit = None
            if rules.fits(self._n_located):
                fit = fit_threshold(scores.maps, scalings(method, scores.maps), self._val, rules)
            # Candidates come best accuracy first, so a tie in localization stays with accuracy.
            if best is None or (fit is not None and best[2] is not None and fit.value > best[2].value):
                best = (net, scores, fit, 0 if checkpoint is None else checkpoint.epoch.epoch)
        assert best is not None
        net, scores, fit, epoch = best
        return net, scores, freeze(epoch, fit, scalings(method, scores.maps)[0], scores, self._val, rules)

    def _net(self, method: Method, checkpoint: Checkpoint | None) -> nn.Module:
        if checkpoint is None:
            prior = cast(PriorMethod, method)
            data = prior_data(prior, self._inputs(self._train), self._val, self._job.device)
            torch.manual_seed(self._job.start_seed)
            return prior.fit(self._task, data).to(self._job.device)
        torch.manual_seed(self._job.start_seed)
        net = self._network().build(self._task)
        net.load_state_dict(checkpoint.state)
        return to_device(net, self._job.device)

    def _network(self) -> Network:
        assert self._job.trained_by is not None
        kind, name, values = self._job.trained_by
        entry = registry.discover(cast(registry.Kind, kind)).get(name)
        return cast(Network, params.build(entry.cls, name, values))

    def _inputs(self, view: WeakView) -> Inputs:
        return Inputs(view, self._mean, self._std, self._job.device)

    def _display_maps(
        self,
        method: Method,
        net: nn.Module,
        inputs: Inputs,
        weak: WeakView,
        scores: RawScores,
        point: OperatingPoint,
    ) -> dict[str, npt.NDArray[np.generic]]:
        """Score maps of the test images that every method shows."""
        chosen = evaluate.display_sample(weak.image_ids, self._job.rules.display_images)
        maps: dict[str, npt.NDArray[np.generic]] = {
            "image_ids": np.array([weak.image_ids[i] for i in chosen]),
            "score": point.scaling().apply(scores.maps[chosen]).astype(np.float16),
        }
        if isinstance(method, TrainedMethod):
            parts: dict[str, list[torch.Tensor]] = {}
            with torch.no_grad():
                for batch in torch.split(torch.tensor(chosen), MAP_BATCH):
                    for name, values in method.extra_maps(net, inputs.images(batch)).items():
                        parts.setdefault(name, []).append(values.float().cpu())
            maps |= {name: torch.cat(values).numpy().astype(np.float16) for name, values in parts.items()}
        return maps

    def _record(
        self,
        cell: Cell,
        method: Method,
        net: nn.Module,
        scores: RawScores,
        point: OperatingPoint,
        training: Training | None,
    ) -> dict[str, Any]:
        job = self._job
        labels, groups = self._val.weak.labels, self._val.weak.groups
        content: dict[str, Any] = {
            "key": cell.key,
            "key_parts": cell.key_parts,
            "dataset": cell.dataset,
            "method": cell.method,
            "params": cell.params,
            "method_params": cell.shown_params,
            "seed": cell.seed,
            "sanity": method.sanity,
            "recipe": asdict(job.recipe),
            "rules": job.rules.as_dict(),
            "device": job.device,
            "pixel_moments": [self._mean, self._std],
            "operating_point": point.as_dict(),
            "checkpoint_rule": job.rules.applied(self._n_located),
            "n_val_boxes": self._val.truth.n_boxes() if self._spends_boxes(method) else 0,
            "n_val_located": self._n_located,
            "n_parameters": sum(p.numel() for p in net.parameters()),
            **made_with(job.device),
            "trained_on": [] if job.trained_by is None else list(self._network().saw()),
            "history": [],
            "checkpoint": None,
            "val_auc": None,
            "polarity": None,
        }
        if training is not None:
            content["history"] = [
                {k: None if v != v else v for k, v in asdict(epoch).items()} for epoch in training.history
            ]
            content["checkpoint"] = checkpoint_reference(self._training_folder(), point.epoch)
            content["polarity"] = auc_interval(labels, self._mean_scores(scores), groups)
        if scores.probability is not None:
            content["val_auc"] = auc_interval(labels, scores.probability, groups)
        return content

    def _mean_scores(self, scores: RawScores) -> npt.NDArray[np.float64]:
        """(N,) mean raw score of each validation image: does more map mean more disease? Padding left out."""
        pairs = zip(scores.maps, self._val.weak.frames, strict=True)
        return np.array([np.maximum(frame.to_stored(raw), 0).mean(dtype=np.float64) for raw, frame in pairs])

    def _spends_boxes(self, method: Method) -> bool:
        own = isinstance(method, PriorMethod) and method.uses_validation_truth
        return own or self._job.rules.fits(self._n_located)

    def _training_folder(self) -> Path:
        return Path(self._job.out) / "trainings" / self._job.training_name()

    def _report_epoch(self, epoch: Epoch) -> None:
        job = self._job
        self._report(
            {
                "event": "epoch",
                "label": job.label(),
                "epoch": epoch.epoch,
                "epochs": job.recipe.epochs,
                "loss": epoch.loss,
                "accuracy": epoch.accuracy,
            }
        )


def _fail(job: Job, cell: Cell, error: BaseException, report: Report) -> None:
    message = describe(error)
    try:
        write_failure(Path(job.out), cell.slug, cell.failure(message))
    except OSError as unwritten:
        message += f" (not noted in {job.out}: {unwritten.strerror})"
    report({"event": "cell", "slug": cell.slug, "status": "failed", "error": message})
