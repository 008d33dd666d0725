"""Metrics: arrays in, arrays out, no torch.

`grid` (thresholds), `truth` (boxes and masks), `pixel`, `box`, `soft`, `classification`, and `tally`: the
per-image counts from which every metric and threshold rule can be computed without running a network again.
"""
