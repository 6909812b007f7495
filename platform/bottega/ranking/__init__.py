"""Ranking: search over places, newcomers, and which ride to offer first."""
