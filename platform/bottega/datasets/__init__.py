"""Datasets: the catalogue, the loaders with their checks, and the city simulator."""
