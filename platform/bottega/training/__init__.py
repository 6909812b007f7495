"""Training: split, fit, evaluate, package."""
