import numpy as np


def should_alarm(residuals, reference):
    quiet = np.array([np.median(day) for day in reference])
    return bool(np.median(residuals) > quiet.mean() + 3 * quiet.std())
