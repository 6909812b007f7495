"""Trees as ONNX: the same ensemble for ONNX Runtime, which is the baseline, and the fallback on a machine that the
native code does not fit."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from bottega.compile.trees import Ensemble

OPSET, ML_OPSET, IR_VERSION = 18, 3, 10
INPUT, OUTPUT = "features", "prediction"


def to_onnx(ensemble: Ensemble) -> bytes:
    """A graph of one TreeEnsembleRegressor: (batch, features) float32 to (batch, outputs) float32.

    A branch `x < threshold` with its missing values to the left is `BRANCH_LT` with `missing_value_tracks_true`.
    Padding is undone: equal leaves on both sides are one leaf again.
    """
    nodes = _Nodes()
    for output in range(ensemble.outputs):
        for tree in range(ensemble.trees):
            nodes.add_tree(ensemble, output, tree)
    regressor = helper.make_node(
        "TreeEnsembleRegressor",
        [INPUT],
        [OUTPUT],
        domain="ai.onnx.ml",
        n_targets=ensemble.outputs,
        base_values=ensemble.base.tolist(),
        post_transform="NONE",
        **nodes.attributes(),
    )
    graph = helper.make_graph(
        [regressor],
        "trees",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", ensemble.features])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", ensemble.outputs])],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model.SerializeToString()


class _Nodes:
    """The operator's parallel lists."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, str, int, float, int, int, int]] = []
        self.leaves: list[tuple[int, int, int, float]] = []
        self.trees = 0

    def add_tree(self, ensemble: Ensemble, output: int, tree: int) -> None:
        """Walk the complete tree from its root, numbering the nodes without gaps, which ONNX Runtime asks for."""
        feature, threshold = ensemble.feature[output, tree], ensemble.threshold[output, tree]
        left_if_missing, leaf = ensemble.missing_left[output, tree], ensemble.leaf[output, tree]
        inner, given = len(feature), 1
        waiting = [(0, 0)]
        while waiting:
            node, number = waiting.pop()
            if node >= inner or np.isinf(threshold[node]):
                self.rows.append((self.trees, number, "LEAF", 0, 0.0, 0, 0, 0))
                self.leaves.append((self.trees, number, output, float(leaf[_first_leaf(node, inner) - inner])))
                continue
            split = (int(feature[node]), float(threshold[node]), given, given + 1, int(left_if_missing[node]))
            self.rows.append((self.trees, number, "BRANCH_LT", *split))
            waiting += [(2 * node + 2, given + 1), (2 * node + 1, given)]
            given += 2
        self.trees += 1

    def attributes(self) -> dict[str, Any]:
        """The lists under the operator's names."""
        names = ("treeids", "nodeids", "modes", "featureids", "values", "truenodeids", "falsenodeids")
        columns = list(zip(*self.rows, strict=True))
        lists = {f"nodes_{name}": list(column) for name, column in zip(names, columns, strict=False)}
        lists["nodes_missing_value_tracks_true"] = list(columns[7])
        targets = zip(("treeids", "nodeids", "ids", "weights"), zip(*self.leaves, strict=True), strict=True)
        return lists | {f"target_{name}": list(column) for name, column in targets}


def _first_leaf(node: int, inner: int) -> int:
    """The leftmost leaf below a padded node; all leaves below it are equal."""
    while node < inner:
        node = 2 * node + 1
    return node
