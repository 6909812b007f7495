import numpy as np


def should_alarm(residuals, reference):
    usual = np.concatenate(reference)
    return bool(abs(np.median(residuals) - usual.mean()) > 3 * usual.std())
