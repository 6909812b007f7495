"""XGBoost: prediction in place, the fastest of its own."""

import xgboost

from peers.inference import trees
from peers.inference.case import Case, Inputs, Run


def load(case: Case, threads: int) -> Run:
    """The booster with so many threads."""
    booster = xgboost.Booster({"nthread": threads}, model_file=case.folder / trees.BOOSTER)

    def run(inputs: Inputs) -> list:
        return [booster.inplace_predict(inputs["features"])]

    return run
