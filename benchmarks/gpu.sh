#!/usr/bin/env bash
# The check for a machine with an NVIDIA GPU, in under 8 minutes: training speed and memory of every network
# at 224 px in fp32 and bf16, the phantom study on the GPU, the same maps on CPU and GPU, and what RSNA's size
# would take. Prints a Markdown table and writes it to gpu.md in $OUT (or here).
set -euo pipefail
cd "$(dirname "$0")/.."
exec python benchmarks/gpu.py --out "${OUT:-.}" "$@"
