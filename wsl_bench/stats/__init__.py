"""Statistics of a leaderboard: arrays in, arrays out, explicit generators, no torch."""
