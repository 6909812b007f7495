"""The steps that rank and suggest: against brute force, at their edges, and in words."""

import msgspec
import numpy as np
import pytest

from bottega.features.diversify import Diversify
from bottega.features.plan import AnyStep
from bottega.features.steps import Columns, Parts
from bottega.features.suggested import COMPARED, Suggested
from bottega.features.tables import Table
from bottega.features.top_k import NONE, Expected, TopK

ITEMS = 6
TABLE = Table.from_keys(
    [np.arange(ITEMS)],
    {
        "price_usd": np.array([10, 20, 30, np.nan, 10, 40.0]),
        "cuisine": np.array([0, 0, 0, 1, 1, -1.0]),
        "quality": np.array([1, 2, 3, 1, 1, 1.0]),
        "lively": np.array([0, 1, 0, 0, 0, -1.0]),
        "creative": np.zeros(ITEMS),
    },
)


def parts(**tables: Table) -> Parts:
    def nothing(*_: object) -> dict[str, np.ndarray]:
        return {}

    return Parts(tables={"items": TABLE, **tables}, functions={}, read_online=nothing, predict=lambda matrix: matrix)


def run(step: AnyStep, tables: Parts | None = None, **columns: np.ndarray) -> Columns:
    """What the step makes, after it went through JSON as an artefact's does."""
    kind = type(step)
    ready = dict(columns)
    msgspec.json.decode(msgspec.json.encode(step), type=kind).run(ready, tables or parts())
    assert set(step.reads()) <= set(columns) and set(ready) == set(columns) | set(step.makes())
    return ready


def test_top_k_is_a_sort_without_what_is_hidden() -> None:
    rng = np.random.default_rng(3)
    scores = rng.integers(0, 4, (50, 20)) / 4  # many ties
    hidden = rng.integers(-1, 20, (50, 5))
    found = run(TopK("s", 7, "items", "best", ("hidden",)), s=scores, hidden=hidden)
    for row in range(50):
        left = [item for item in range(20) if item not in set(hidden[row])]
        expected = sorted(left, key=lambda item: (-scores[row, item], item))[:7]
        assert found["items"][row].tolist() == expected
        assert found["best"][row].tolist() == [scores[row, item] for item in expected]


def test_top_k_leaves_places_empty_where_nothing_is_left() -> None:
    hidden = np.array([[0, 1, -1], [-1, -1, -1]])
    found = run(TopK("s", 3, "items", "best", ("hidden",)), s=np.array([[0.1, 0.2, 0.7]] * 2), hidden=hidden)
    assert found["items"].tolist() == [[2, NONE, NONE], [2, 1, 0]]
    assert found["best"].tolist() == [[0.7, 0, 0], [0.7, 0.2, 0.1]]


def test_the_expected_attribute_leaves_out_items_without_one() -> None:
    likely = np.array([[0.5, 0, 0, 0.5, 0, 0], [0.25, 0.25, 0.25, 0, 0.25, 0]])
    assert run(Expected("p", "items", "price_usd", "price"), p=likely)["price"].tolist() == [10.0, 17.5]


def mixed(items: list[int], scores: list[float], weight: float, count: int) -> list[int]:
    """Maximal marginal relevance, one place after the other."""
    shown: list[int] = []
    while len(shown) < count:
        groups = {TABLE.columns["cuisine"][item] for item in shown} - {-1}

        def worth(item: int, groups: set[float] = groups) -> float:
            score = scores[items.index(item)] / scores[0]
            return (1 - weight) * score - weight * (TABLE.columns["cuisine"][item] in groups)

        shown.append(max((item for item in items if item not in shown), key=worth))
    return shown


@pytest.mark.parametrize("weight", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_diversify_is_maximal_marginal_relevance(weight: float) -> None:
    items, scores = [2, 0, 1, 3, 4, 5], [0.3, 0.25, 0.2, 0.15, 0.08, 0.02]
    step = Diversify("i", "b", "w", "items", "cuisine", 4, "shown", "scores")
    found = run(step, i=np.array([items] * 2), b=np.array([scores] * 2), w=np.array([weight, 0.0]))
    assert found["shown"][0].tolist() == mixed(items, scores, weight, 4)
    assert found["shown"][1].tolist() == items[:4]
    assert found["scores"][0].tolist() == [scores[items.index(item)] for item in found["shown"][0]]


def test_diversify_keeps_empty_places_last() -> None:
    step = Diversify("i", "b", "w", "items", "cuisine", 3, "shown", "scores")
    found = run(step, i=np.array([[2, 0, NONE]]), b=np.array([[0.3, 0.2, 0.0]]), w=np.array([1.0]))
    assert found["shown"].tolist() == [[2, 0, NONE]]


def test_suggestions_have_names_and_the_reason_that_was_asked_for() -> None:
    pairs = np.array([(a, b) for a in range(ITEMS) for b in range(ITEMS)])
    share = np.where((pairs[:, 0] == 2) & (pairs[:, 1] == 5), 0.5, 0.0)
    sequels = Table.from_keys([pairs[:, 0], pairs[:, 1]], {"share": share})
    step = Suggested(
        items="i",
        seen="seen",
        actions="actions",
        names=tuple("ABCDEF"),
        critiques=(-1, COMPARED.index("cheaper than {}"), COMPARED.index("livelier than {}")),
        groups=("Thai", "Greek"),
        traits="items",
        sequels="sequels",
        name="names",
        reason="reasons",
    )
    items = np.array([[0, 5, 1, 4, NONE]] * 4)
    seen = np.array([[2, 4], [2, -1], [2, -1], [-1, -1]])
    actions = np.array([[1, 0], [0, -1], [2, -1], [-1, -1]])
    found = run(step, parts(sequels=sequels), i=items, seen=seen, actions=actions)
    assert found["names"][0].tolist() == ["A", "F", "B", "E", ""]
    cheaper, often, alike = "cheaper than C", "often chosen after C", "Thai, as C"
    others = "chosen by others who looked at the same"
    assert found["reasons"].tolist() == [
        [cheaper, often, cheaper, cheaper, ""],
        [alike, often, alike, others, ""],
        [alike, often, "livelier than C", others, ""],
        ["often chosen"] * 4 + [""],
    ]
