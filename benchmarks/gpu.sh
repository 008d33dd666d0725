#!/usr/bin/env bash
# The check for a machine with an NVIDIA GPU, in under 8 minutes: training speed and memory of every network
# at 224 px in fp32 and bf16, several trainings packed on one GPU, the same maps on CPU and GPU, the phantom study
# on the GPU and what RSNA's size would take; then the tests that need a GPU. Prints a Markdown table and writes it
# to gpu.md in $OUT (or here).
set -euo pipefail
cd "$(dirname "$0")/.."
python benchmarks/gpu.py --out "${OUT:-.}" "$@"
exec python -m pytest -q -p no:cacheprovider tests/gpu
