"""The leaderboard: a pure function of a set of records. No torch."""
