"""Probes: pictures made worse, and a border that gives the label away or does not."""

import numpy as np
import pytest
from torch import Tensor, nn

from bottega.training.picture_probes import PROBES, border_auc, robustness, spoil


def pictures(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((rows, 3, 32, 32), np.float32)


@pytest.mark.parametrize("probe", PROBES)
def test_each_probe_changes_pictures_and_keeps_their_shape(probe: str) -> None:
    before = pictures(4, 1)
    after = spoil(before, probe)
    assert after.shape == before.shape and after.dtype == np.float32
    assert after.min() >= 0 and after.max() <= 1
    assert np.abs(after - before).mean() > 0.03


def test_a_border_that_knows_the_label_is_found_out_and_a_centre_is_not_seen() -> None:
    chance = np.random.default_rng(2)
    label = (chance.random(160) < 0.5).astype(float)
    fold = np.arange(160) % 2
    telling, centred = pictures(160, 3), pictures(160, 4)
    telling[label == 1, :, :2] += 0.5
    centred[label == 1, :, 12:20, 12:20] += 0.5
    assert border_auc(telling, label, fold, 1) > 0.95
    assert 0.35 < border_auc(centred, label, fold, 1) < 0.65


class Brightness(nn.Module):
    """Says how bright a picture is; `sign` turns it round."""

    def __init__(self, sign: float) -> None:
        super().__init__()
        self.sign = sign

    def forward(self, seen: Tensor) -> Tensor:
        return self.sign * seen.mean((1, 2, 3))[:, None].repeat(1, 2)


def test_each_picture_is_judged_by_the_network_of_its_own_fold() -> None:
    chance = np.random.default_rng(5)
    label = np.tile([0.0, 1.0], 30)
    fold = np.repeat([0, 1], 30)
    shown = chance.random((60, 3, 32, 32), np.float32) * 0.2 + 0.4 * label[:, None, None, None].astype(np.float32)
    right = robustness([Brightness(1), Brightness(1)], shown, label, fold)
    assert right == dict.fromkeys(("as_taken", *PROBES), 1.0)
    wrong = robustness([Brightness(-1), Brightness(-1)], shown, label, fold)
    assert wrong["as_taken"] == 0.0
