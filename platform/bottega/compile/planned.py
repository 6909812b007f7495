"""The plan of an artefact, bound: request columns to the model's input, and its output to the answer's columns."""

from collections.abc import Mapping

import numpy as np

from bottega.compile.executor import bind_check, bind_steps
from bottega.compile.model import Model
from bottega.errors import InvalidInput
from bottega.features.plan import FeaturePlan
from bottega.features.steps import Columns, ExternalRead, NumericFunction, OnlineRead, Parts, no_services
from bottega.features.tables import Tables


class Planned:
    """The steps of one plan around its model."""

    def __init__(
        self,
        plan: FeaturePlan,
        tables: Tables,
        model: Model,
        functions: Mapping[str, NumericFunction],
        read_online: OnlineRead,
        read_external: ExternalRead = no_services,
    ) -> None:
        self.plan = plan
        self.tables = tables
        self.model = model
        parts = Parts(tables, functions, read_online, model, read_external)
        self.check = bind_check(plan, tables)
        self.before_model = bind_steps(plan.before_model(), parts)
        self._after = bind_steps(plan.after_model(), parts)
        self._model_step, self._input = plan.model(), plan.model().input
        self._answer = tuple(field.name for field in plan.answer)

    def predict(self, columns: Columns) -> Columns:
        """Request columns to answer columns. Raises InvalidInput for a request that the plan does not allow."""
        self.check(columns)
        ready = self.before_model(columns)
        return self.after_model(ready, self.model(ready[self._input]))

    def predict_raw(self, features: np.ndarray) -> np.ndarray:
        """(batch, features) to (batch, outputs). Raises InvalidInput for a matrix that native code must not see."""
        self.model.check(features)
        return self.model(features)

    def after_model(self, ready: Columns, predicted: np.ndarray) -> Columns:
        """Columns before the model and its output, (batch, outputs), to the answer's columns."""
        columns = dict(ready)
        self._model_step.share(predicted, columns)
        done = self._after(columns)
        return {name: done[name] for name in self._answer}


def no_online_store(view: str, keys: tuple[np.ndarray, ...], at_us: np.ndarray) -> Mapping[str, np.ndarray]:
    """The online read of an artefact that was loaded without one."""
    raise InvalidInput(
        f"The plan reads the view {view!r}, and the artefact was loaded without an online store.",
        next_step="Pass read_online to Artifact.load.",
    )
