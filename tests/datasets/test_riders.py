import numpy as np
import pytest

from bottega.datasets.riders import FEATURES, PRODUCTS, draw_moods, draw_requests, draw_riders
from bottega.errors import InvalidInput

RIDERS = draw_riders(3000, seed=1)
REQUESTS = draw_requests(RIDERS, 20_000, seed=1)


def share(product: str, where: np.ndarray) -> float:
    return float(REQUESTS.truth[where, PRODUCTS.index(product)].mean())


def has(name: str) -> np.ndarray:
    return REQUESTS.features[:, FEATURES.index(name)] > 0


def test_the_same_seed_gives_the_same_and_another_another():
    assert (draw_requests(draw_riders(3000, 1), 20_000, 1).truth == REQUESTS.truth).all()
    assert (draw_requests(draw_riders(3000, 2), 20_000, 1).truth != REQUESTS.truth).any()


def test_the_truth_is_as_people_are():
    assert share("large", has("four_or_more")) > 0.5 > 0.15 > share("large", ~has("four_or_more"))
    assert share("bike", ~has("rain") & ~has("over_3_km")) > 3 * share("bike", has("rain"))
    assert share("comfort", has("airport")) > share("comfort", ~has("airport")) + 0.15
    best = np.bincount(REQUESTS.truth.argmax(axis=1), minlength=len(PRODUCTS)) / len(REQUESTS)
    assert best.min() > 0.05  # every product is the best offer for somebody
    assert best.max() < 0.6


def test_history_tells_of_taste_and_a_quarter_has_none():
    assert 0.2 < has("no_history").mean() < 0.3
    often = REQUESTS.features[:, FEATURES.index("share_bike")] > 0.4
    assert share("bike", often) > 1.5 * share("bike", ~often)
    shares = REQUESTS.features[:, [FEATURES.index(f"share_{name}") for name in PRODUCTS]].sum(axis=1)
    assert shares == pytest.approx((~has("no_history")).astype(float))


def test_moods_make_the_truth_come_true():
    offered = np.full(len(REQUESTS), 1)
    taken = draw_moods(len(REQUESTS), 5) < REQUESTS.of(offered)
    assert taken.mean() == pytest.approx(REQUESTS.of(offered).mean(), abs=0.015)
    assert (REQUESTS.best >= REQUESTS.of(offered)).all()


def test_nobody_and_nothing_are_refused():
    with pytest.raises(InvalidInput, match="0 riders"):
        draw_riders(0, 1)
    with pytest.raises(InvalidInput, match="0 requests"):
        draw_requests(RIDERS, 0, 1)
