"""scikit-learn: a HistGradientBoostingRegressor of the same size. It takes its threads from OMP_NUM_THREADS."""

from peers.inference import trees
from peers.inference.case import Case, Inputs, Run


def load(case: Case, threads: int) -> Run:
    """The forest."""
    forest = trees.load_forest(case.folder)

    def run(inputs: Inputs) -> list:
        return [forest.predict(inputs["features"])]

    return run
