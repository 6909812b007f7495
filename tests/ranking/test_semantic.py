import numpy as np
from scipy.sparse import csr_array

from bottega.ranking.semantic import denoise, learn_space

DOCUMENTS = [["sushi", "quiet", "japan"], ["pizza", "oven", "children"]] * 20 + [["sushi", "quiet"], ["oven", "pizza"]]


def test_the_closed_form_is_what_striking_words_out_at_random_learns():
    rng = np.random.default_rng(0)
    table, points = rng.random((12, 6)) * (rng.random((12, 6)) < 0.6), rng.normal(size=(12, 3))
    kept, ridge, draws = 0.4, 0.1, 40_000
    together, across = np.zeros((6, 6)), np.zeros((6, 3))
    for _ in range(draws):
        struck = table * (rng.random(table.shape) < kept)
        together += struck.T @ struck
        across += struck.T @ points
    sampled = np.linalg.solve(together / draws + ridge * np.eye(6), across / draws)
    assert np.abs(denoise(csr_array(table), points, kept, ridge) - sampled).max() < 0.02


def test_words_that_go_together_mean_alike():
    space = learn_space(DOCUMENTS, dimensions=2)
    meaning = space.meaning({"japan": 1.0})
    assert meaning.understood == 1
    likeness = space.points @ meaning.direction
    assert likeness[40] > 0.9 > 0.1 > likeness[41]  # 'japan' is near to sushi that does not say so


def test_likeness_is_a_cosine_and_does_not_depend_on_the_length_of_the_query():
    space = learn_space(DOCUMENTS, dimensions=3)
    once, thrice = (space.points @ space.meaning({"sushi": w, "oven": w}).direction for w in (1.0, 3.0))
    assert np.abs(once - thrice).max() < 1e-6
    assert np.abs(once).max() <= 1 + 1e-6


def test_rare_words_have_no_meaning_and_count_as_not_understood():
    space = learn_space([*DOCUMENTS, ["tanners"]], dimensions=2)
    assert "tanners" not in space.vocabulary
    assert space.meaning({"tanners": 1.0}) is None
    assert 0 < space.meaning({"tanners": 1.0, "sushi": 1.0}).understood < 1


def test_learning_again_gives_the_same_space():
    one, other = learn_space(DOCUMENTS, dimensions=3), learn_space(DOCUMENTS, dimensions=3)
    assert (one.points == other.points).all()
    assert (one.mapping == other.mapping).all()
