"""The rules of the benchmark: checkpoints, score maps, operating point, the life of a cell."""
