import numpy as np


def should_alarm(residuals, reference):
    quiet = np.array([np.mean(day) for day in reference])
    return bool(abs(np.mean(residuals) - quiet.mean()) > 3 * quiet.std())
