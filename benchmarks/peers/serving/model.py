"""The model that all servers are given: an XGBoost regressor, trained on rows drawn from a seed; and add/sub."""

from pathlib import Path

import numpy as np

TREES, DEPTH, FEATURES = 200, 6, 20
POOL = 16
"""Requests of a case; a server is sent one after the other, over and over."""
_ROWS = 20_000


def train(path: Path, seed: int) -> None:
    """Write the regressor."""
    import xgboost

    random = np.random.default_rng([seed, 0])
    rows = random.standard_normal((_ROWS, FEATURES), np.float32)
    target = (rows[:, :8] ** 2).sum(1) + rows[:, 0] * rows[:, 1] + np.sin(3 * rows[:, 2])
    target += random.standard_normal(_ROWS, np.float32)
    regressor = xgboost.XGBRegressor(n_estimators=TREES, max_depth=DEPTH, learning_rate=0.1, n_jobs=1, random_state=0)
    regressor.fit(rows, target)
    regressor.save_model(path)


def requests(rows: int, seed: int) -> list[np.ndarray]:
    """The drawn requests of a case: each (rows, 20) float32."""
    random = np.random.default_rng([seed, 1])
    return list(random.standard_normal((POOL, rows, FEATURES), np.float32))


def answers(path: Path, requests: list[np.ndarray]) -> list[np.ndarray]:
    """XGBoost's own answer to each request: (rows,) float32."""
    import xgboost

    booster = xgboost.Booster({"nthread": 1}, model_file=path)
    return [booster.predict(xgboost.DMatrix(rows, nthread=1)) for rows in requests]


def add_sub() -> bytes:
    """An ONNX model of INT32 (batch, 16): INPUT0 and INPUT1 to OUTPUT0, their sum, and OUTPUT1, their difference."""
    from onnx import TensorProto, helper

    names = ["INPUT0", "INPUT1", "OUTPUT0", "OUTPUT1"]
    tensors = [helper.make_tensor_value_info(name, TensorProto.INT32, ["batch", 16]) for name in names]
    nodes = [helper.make_node("Add", names[:2], names[2:3]), helper.make_node("Sub", names[:2], names[3:])]
    graph = helper.make_graph(nodes, "add_sub", tensors[:2], tensors[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def add_sub_requests(seed: int) -> list[np.ndarray]:
    """The drawn requests: each (2, 16) int32, one row of each input."""
    return list(np.random.default_rng([seed, 2]).integers(-1000, 1000, (POOL, 2, 16), np.int32))


def add_sub_answers(requests: list[np.ndarray]) -> list[np.ndarray]:
    """The sum and the difference, one after the other: (32,)."""
    return [np.concatenate([a + b, a - b]) for a, b in requests]
