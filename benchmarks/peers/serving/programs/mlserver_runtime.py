"""The regressor behind MLServer."""

import numpy as np
import xgboost
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Regressor(MLModel):
    async def load(self) -> bool:
        self.booster = xgboost.Booster({"nthread": 1}, model_file=self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32, copy=False)
        output = NumpyCodec.encode_output("prediction", self.booster.inplace_predict(rows))
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[output])
