"""treelite: XGBoost's model in its General Tree Inference Library."""

import treelite

from peers.inference import trees
from peers.inference.case import Case, Inputs, Run


def load(case: Case, threads: int) -> Run:
    """The model with so many threads."""
    model = treelite.frontend.load_xgboost_model(str(case.folder / trees.BOOSTER))

    def run(inputs: Inputs) -> list:
        return [treelite.gtil.predict(model, inputs["features"], nthread=threads)]

    return run
