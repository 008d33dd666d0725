"""What a Codabench bundle says to participants, its picture and its scoring program."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

COMMAND = "python3 /app/program/scoring.py /app/input /app/output"
SCORING = '''"""Scores a submission by the protocol of wsl_bench, which has to be installed where this runs."""

import sys
from pathlib import Path

from wsl_bench.external.submission import main

sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
'''

_OVERVIEW = """# Weakly supervised localization: {name}

Train on image-level labels, say where the finding is. Neither boxes nor masks of training images may be used. A
submission is a score map in [0, 1] for every validation and test image.
"""

_EVALUATION = """# Evaluation

1. The maps of the **validation** images fix how yours are read: the threshold k / 1000 that is best by `{criterion}`
   over validation positives with ground truth, on the maps as they are or each over its own maximum, whichever is
   better.
2. Threshold and reading are frozen. Only then are the maps of the **test** images counted: a pixel is predicted where
   its score >= threshold. A blank map finds nothing and counts as that.

A submission is a zip archive with `maps/`, a folder of one `.npy`, `.npz`, grey `.png` or `.tif` file an image, named
by image id, or with one `maps.npz` or `maps.safetensors` that has an array for each image id. A map covers its whole
image, in the image's size or another of the same aspect. Missing, unknown, misshapen and non-finite maps are listed
by name in the error output, and nothing is scored.

| column | meaning, mean over test positives with ground truth |
|---|---|
| IoU | \\|P and G\\| / \\|P or G\\|; P predicted pixels, G ground truth |
| IoU, 95 % from, to | interval from 2,000 resamples of the test patients, for these maps |
| IoP, FPR, FNR | \\|P and G\\| / \\|P\\|; \\|P outside G\\| / \\|outside of G\\|; \\|G outside P\\| / \\|G\\| |
| Dice | 2 \\|P and G\\| / (\\|P\\| + \\|G\\|) |
| PxAP | pooled pixel average precision over all thresholds |
| Box accuracy | share with a component whose box fits a true one, mean over IoU .3, .5, .7 |
| Threshold | the one fitted on validation |

The platform orders submissions by mean IoU and knows no ties: where two intervals overlap widely, the order of the two
says little.
"""

_DATA = """# Data

`manifest.csv` in the public data has the split of every image, and group, label and whether there is ground truth for
those of training and validation; of test images nothing but their ids. Its sha256: `{manifest}`.

The images are not part of this bundle. Organizers: say here where they are to be had, and under which licence.
"""

_TERMS = """# Terms

Organizers: write the terms of participation here before the competition opens. The protocol itself asks for two things:
no ground truth of any image but that of validation is used, and the test images are not used for training or selection.
"""


def texts(name: str, criterion: str, manifest: str) -> dict[str, str]:
    """Markdown by name of the page; `manifest` is the sha256 of the split manifest that participants get."""
    return {
        "overview": _OVERVIEW.format(name=name),
        "evaluation": _EVALUATION.format(criterion=criterion),
        "data": _DATA.format(manifest=manifest),
        "terms": _TERMS,
    }


def logo() -> bytes:
    """A PNG: a bright spot and the box around it."""
    y, x = np.mgrid[:128, :128]
    picture = (30 + 200 * np.exp(-((x - 76) ** 2 + (y - 56) ** 2) / 500)).astype(np.uint8)
    for edge in ((slice(28, 84), [46, 106]), ([28, 84], slice(46, 107))):
        picture[edge] = 255
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    return out.getvalue()
