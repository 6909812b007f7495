"""The regressor behind FastAPI."""

import os

import numpy as np
import xgboost
from fastapi import FastAPI
from pydantic import BaseModel

booster = xgboost.Booster({"nthread": 1}, model_file=os.environ["MODEL"])
app = FastAPI()


class Request(BaseModel):
    rows: list[list[float]]


class Answer(BaseModel):
    predictions: list[float]


@app.post("/predict")
async def predict(request: Request) -> Answer:
    return Answer(predictions=booster.inplace_predict(np.array(request.rows, np.float32)).tolist())
