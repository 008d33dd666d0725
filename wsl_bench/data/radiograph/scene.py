"""Phantom radiograph number `index` of a data seed: its image and its ground truth.

The patient (anatomy, distractors, benign shadows) is drawn first, the lesions are added to its
attenuation, then the film turns attenuation into grey with quantum noise. Any size shows the same
patient: geometry and texture live in fractions of the image side, only the noise is drawn per pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wsl_bench.data.radiograph import _ink, _kernels
from wsl_bench.data.radiograph.anatomy import FloatArray, Thorax, draw_bones, draw_thorax, draw_vessels
from wsl_bench.data.radiograph.distractors import draw_distractors, draw_marker, draw_tube
from wsl_bench.data.radiograph.opacities import draw_lesions, draw_shadows, lesion_at
from wsl_bench.data.radiograph.streams import TUBE_SHARE, Part, label, stream

MASK_LEVEL = 0.1  # share of a lesion's peak above which a pixel belongs to its mask
_LATTICE = (32, 32)  # at the cells in use, textures repeat after an image side or more


@dataclass(frozen=True)
class Lesions:
    """Ground truth of one image with K lesions (none in a healthy one).

    Attributes:
        density: (K, size, size) float64, what each adds to the attenuation; 0 outside its support.
        masks: (K, size, size) bool, the pixels where it adds more than 10 % of its own peak.
        boxes: (K, 4) float64: x, y, width, height in pixels, tight around each mask.
    """

    density: FloatArray
    masks: npt.NDArray[np.bool_]
    boxes: FloatArray

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """(size, size) bool: the union of the masks."""
        return np.asarray(self.masks.any(axis=0))


@dataclass(frozen=True)
class _Scene:
    """The patient without lesions: attenuation and visible lung, (size, size) each."""

    thorax: Thorax
    density: FloatArray
    lung: FloatArray
    blur: FloatArray


def render(
    data_seed: int, index: int, size: int = 64, lesion: bool = True, tube: bool | None = None, dose: float = 1.0
) -> npt.NDArray[np.uint8]:
    """The image, (size, size) uint8.

    Args:
        lesion: False leaves the lesions out; outside their support no bit changes.
        tube: draw a catheter or not; None leaves it to chance (`has_tube`).
        dose: photons, relative to the usual number; quantum noise goes with its inverse square root.
    """
    diseased = label(data_seed, index) == 1
    scene = _draw_patient(data_seed, index, size, diseased, tube)
    density = scene.density
    if lesion and diseased:
        density = density + _draw_lesions(data_seed, index, scene).sum(axis=0)
    return _expose(data_seed, index, density, dose)


def render_at(data_seed: int, index: int, size: int, boxes: FloatArray) -> npt.NDArray[np.uint8]:
    """Patient number `index` with a lesion that fills each of these boxes, lung or not; healthy without boxes.

    Args:
        boxes: (K, 4) x, y, width, height as fractions of the image side.

    Returns:
        (size, size) uint8.
    """
    scene = _draw_patient(data_seed, index, size, diseased=len(boxes) > 0, tube=None)
    rng, everywhere = stream(data_seed, index, Part.LESIONS), np.ones((size, size))
    density = scene.density
    # In a frame of its own, upright and to one side of the midline, which cuts no box in two.
    frame = scene.thorax._replace(tilt=0.0, zoom=1.0, shift_x=-1.0, shift_y=0.0)
    for x, y, width, height in boxes:
        lesion = lesion_at(rng, (x + 0.5 * width + 0.5, y + 0.5 * height - 0.5, 0.5 * width, 0.5 * height))
        layer = np.zeros((size, size))
        _ink.add_opacity(frame, lesion, rng.standard_normal(_LATTICE), everywhere, layer)
        _ink.blur(layer, scene.blur)
        density = density + layer
    return _expose(data_seed, index, density, 1.0)


def _expose(data_seed: int, index: int, density: FloatArray, dose: float) -> npt.NDArray[np.uint8]:
    size = density.shape[0]
    rng = stream(data_seed, index, Part.FILM)
    low, high = rng.uniform(-0.04, 0.12), rng.uniform(0.90, 1.15)
    gamma, noise = rng.uniform(0.75, 1.45), rng.uniform(0.006, 0.024)
    # Smaller pixels catch fewer photons; the detector's own blur keeps that from growing as 1 / area.
    noise *= np.sqrt(size / 64 / dose)
    return _ink.expose(density, rng.standard_normal((size, size)), noise, low, high, gamma)


def lesions(data_seed: int, index: int, size: int = 64) -> Lesions:
    """The ground truth that belongs to `render(data_seed, index, size)`."""
    if label(data_seed, index) == 0:
        return Lesions(np.zeros((0, size, size)), np.zeros((0, size, size), np.bool_), np.zeros((0, 4)))
    scene = _draw_patient(data_seed, index, size, diseased=True, tube=False)
    density = _draw_lesions(data_seed, index, scene)
    masks = density > MASK_LEVEL * density.max(axis=(1, 2), keepdims=True)
    return Lesions(density, masks, np.array([_tight_box(mask) for mask in masks], np.float64))


def _draw_patient(data_seed: int, index: int, size: int, diseased: bool, tube: bool | None) -> _Scene:
    rng = stream(data_seed, index, Part.ANATOMY)
    thorax = draw_thorax(rng)
    density, lung = np.zeros((size, size)), np.zeros((size, size))
    _kernels.paint_thorax(thorax, density, lung)
    texture, cell, strength = rng.standard_normal(_LATTICE), 0.03, rng.uniform(0.0, 0.04)
    _ink.add_texture(density, lung, texture, cell, strength)
    blur = _ink.blur_weights(rng.uniform(0.0, 0.010) * size)
    strokes = [draw_vessels(rng), draw_bones(rng, thorax)]
    soft_tissue, coarse, strength = rng.standard_normal(_LATTICE), 0.06, rng.uniform(0.0, 0.03)
    _ink.add_texture(density, density.copy(), soft_tissue, coarse, strength)

    rng = stream(data_seed, index, Part.DISTRACTORS)
    strokes.append(draw_distractors(rng, thorax))
    marker = draw_marker(rng)
    rng = stream(data_seed, index, Part.TUBE)
    chance = bool(rng.random() < TUBE_SHARE)  # as in has_tube; drawn in any case, so that all tubes agree
    if chance if tube is None else tube:
        strokes.append(draw_tube(rng))
    drawn = np.concatenate([*strokes, marker])
    _ink.pose(drawn[: len(drawn) - len(marker)], thorax)
    _ink.add_strokes(density, drawn)

    rng = stream(data_seed, index, Part.SHADOWS)
    for shadow in draw_shadows(rng, thorax, diseased):
        _ink.add_opacity(thorax, shadow, rng.standard_normal(_LATTICE), lung, density)
    _ink.blur(density, blur)
    return _Scene(thorax, density, lung, blur)


def _draw_lesions(data_seed: int, index: int, scene: _Scene) -> FloatArray:
    """Attenuation of each lesion, (K, size, size), blurred like the rest of the image."""
    rng = stream(data_seed, index, Part.LESIONS)
    drawn = draw_lesions(rng, scene.thorax)
    layers = np.zeros((len(drawn), *scene.density.shape))
    for layer, lesion in zip(layers, drawn, strict=True):
        _ink.add_opacity(scene.thorax, lesion, rng.standard_normal(_LATTICE), scene.lung, layer)
        _ink.blur(layer, scene.blur)
    return layers


def _tight_box(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1
