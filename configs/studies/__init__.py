"""Studies: which recipes and seeds stand behind a table of the leaderboard."""
