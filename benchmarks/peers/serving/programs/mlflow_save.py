"""The regressor as an MLflow model: python mlflow_save.py <model.ubj> <folder>."""

import sys

import mlflow.xgboost
import xgboost

mlflow.xgboost.save_model(xgboost.Booster({"nthread": 1}, model_file=sys.argv[1]), sys.argv[2])
