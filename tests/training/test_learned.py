import dataclasses

import numpy as np
import pandas as pd
import pytest

from bottega.training.examples import Examples, make_examples
from bottega.training.learned import Teacher


@pytest.fixture(scope="module")
def examples(recipe, sources, span) -> Examples:
    return make_examples(recipe, sources, *span).where(np.arange(1500))


@pytest.fixture(scope="module")
def teacher(recipe, sources):
    return Teacher.of(recipe, sources)


def test_a_rows_own_columns_never_depend_on_its_own_label(teacher, recipe, examples):
    before = teacher.teach(examples, 5, seed=1).own
    label = examples.label.copy()
    label[17] *= 50.0
    after = teacher.teach(dataclasses.replace(examples, label=label), 5, seed=1).own
    assert set(before) == {*recipe.routed, *recipe.encoded}
    for name, column in before.items():
        assert after[name][17] == column[17]
    for name in (recipe.base(), "route_min"):
        assert (after[name] != before[name]).any()


def test_of_labels_that_are_pure_noise_a_row_learns_nothing_about_itself(teacher, recipe, examples):
    noise = np.exp(np.random.default_rng(0).normal(2, 0.5, len(examples)))
    strange = dataclasses.replace(examples, label=noise)
    learned = teacher.teach(strange, 5, seed=0)
    inside = teacher.columns([recipe.base()], strange.request, learned.tables, {})[recipe.base()]
    assert np.corrcoef(inside, np.log(noise))[0, 1] > 0.3
    assert abs(np.corrcoef(learned.own[recipe.base()], np.log(noise))[0, 1]) < 0.1


def test_what_is_learned_knows_nothing_of_rows_that_were_not_given(teacher, sources, recipe, span):
    """Trips after the span, changed or removed, leave every learned table as it was."""
    since, until = span
    middle = (since + until) // 2
    known = make_examples(recipe, sources, since, middle)
    table = sources["trips"]
    later = table["pickup_at"] >= pd.Timestamp(middle, unit="us", tz="UTC")
    slower = table.assign(duration_min=table["duration_min"].where(~later, table["duration_min"] * 7))
    learned = teacher.teach(known, 5, seed=3).tables
    for changed in (slower, table[~later]):
        again = make_examples(recipe, dict(sources) | {"trips": changed}, since, middle)
        relearned = teacher.teach(again, 5, seed=3).tables
        for name, found in learned.items():
            other = relearned[name]
            for column, values in found.columns.items():
                np.testing.assert_array_equal(values, other.columns[column])


def test_the_encoding_stands_on_the_route(teacher, recipe, examples):
    """A pair that was never driven is encoded by its route: a longer one takes longer."""
    tables = teacher.teach(examples, 5, seed=2).tables
    few = examples.where((examples.request["pu_zone"] != 1) | (examples.request["do_zone"] < 8))
    unseen = teacher.teach(few, 5, seed=2).tables[recipe.encoding.table]
    near, far = unseen.read([np.array([1, 1]), np.array([8, 11])], ["log_mean"])[0]
    assert near < far
    assert tables[recipe.encoding.table].known.all()
