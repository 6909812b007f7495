import numpy as np
import pandas as pd

from bottega.training.baseline import fit_baseline, predict_baseline


def test_it_equals_a_plain_median_with_back_off(sources):
    trips = sources["trips"]
    some = trips[(trips["pu_zone"] != 5) & ~((trips["pu_zone"] == 3) & (trips["do_zone"] == 4))]
    table = fit_baseline(
        [some["pu_zone"].to_numpy(), some["do_zone"].to_numpy()], some["duration_min"].to_numpy(), (13, 13)
    )
    found = predict_baseline(table, [trips["pu_zone"].to_numpy(), trips["do_zone"].to_numpy()])
    pair = some.groupby(["pu_zone", "do_zone"])["duration_min"].median()
    first = some.groupby("pu_zone")["duration_min"].median()
    for row, value in zip(trips.iloc[:800].itertuples(), found, strict=False):
        if row.pu_zone == 5:
            expected = some["duration_min"].median()
        elif (row.pu_zone, row.do_zone) == (3, 4):
            expected = first[3]
        else:
            expected = pair[row.pu_zone, row.do_zone]
        assert value == expected


def test_every_pair_of_the_table_answers():
    keys = [np.array([1, 1, 2]), np.array([2, 2, 1])]
    table = fit_baseline(keys, np.array([10.0, 20.0, 6.0]), (4, 4))
    grid = pd.MultiIndex.from_product([range(4), range(4)])
    answers = predict_baseline(table, [grid.get_level_values(i).to_numpy() for i in range(2)])
    assert np.isfinite(answers).all()
    assert answers[1 * 4 + 2] == 15.0
    assert answers[2 * 4 + 3] == 6.0
    assert answers[0] == 10.0
