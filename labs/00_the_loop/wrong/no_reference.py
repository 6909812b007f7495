import numpy as np


def should_alarm(residuals, reference):
    return bool(abs(np.median(residuals)) > 0.1)
