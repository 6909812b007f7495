"""The regressor behind Ray Serve."""

import os
import signal

import numpy as np
import ray
import xgboost
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=1, max_ongoing_requests=256)
class Regressor:
    def __init__(self, model: str) -> None:
        self.booster = xgboost.Booster({"nthread": 1}, model_file=model)

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.001)
    async def predict(self, requests):
        ends = np.cumsum([len(rows) for rows in requests])[:-1]
        return np.split(self.booster.inplace_predict(np.concatenate(requests)), ends)

    async def __call__(self, request: Request):
        rows = np.array((await request.json())["rows"], np.float32)
        return {"predictions": (await self.predict(rows)).tolist()}


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000)
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])})
    serve.run(Regressor.bind(os.environ["MODEL"]))
    signal.pause()
