"""Trees as ONNX: the same ensemble for ONNX Runtime, which is the baseline, and the fallback on a machine that the
native code does not fit.

Trees that compare numbers are one TreeEnsembleRegressor. Sets of categories came to ONNX with TreeEnsemble, whose
leaves hold one value: trees with more are given to it once for each output.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from bottega.compile.trees import Ensemble, Link

OPSET, ML_OPSET, ML_OPSET_SETS, IR_VERSION = 18, 3, 5, 10
INPUT, OUTPUT = "features", "prediction"
_LESS, _MEMBER = 1, 6

_LINKS: Mapping[Link, tuple[tuple[str, dict[str, Any]], ...]] = MappingProxyType(
    {
        "identity": (("Identity", {}),),
        "sigmoid": (("Sigmoid", {}),),
        "softmax": (("Softmax", {"axis": 1}),),
        "argmax": (("ArgMax", {"axis": 1, "keepdims": 1}), ("Cast", {"to": TensorProto.FLOAT})),
        "exp": (("Exp", {}),),
        "step": (("Sign", {}), ("Relu", {})),
        "isolation": (("Exp", {}), ("Neg", {})),
    }
)


def to_onnx(ensemble: Ensemble) -> bytes:
    """A graph from (batch, features) float32 to (batch, outputs) float32."""
    graph = _Graph()
    asks = bool((ensemble.first_bit >= 0).any())
    sums = _with_sets(graph, ensemble) if asks else _with_numbers(graph, ensemble)
    answer = graph.add("Add", [sums, graph.constant(ensemble.base.astype(np.float32))])
    for operator, attributes in _LINKS[ensemble.link]:
        answer = graph.add(operator, [answer], **attributes)
    graph.nodes[-1].output[0] = OUTPUT
    made = helper.make_graph(
        graph.nodes,
        "trees",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", ensemble.features])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", ensemble.outputs])],
        graph.constants,
    )
    opsets = [
        helper.make_opsetid("", OPSET),
        helper.make_opsetid("ai.onnx.ml", ML_OPSET_SETS if asks else ML_OPSET),
    ]
    model = helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model.SerializeToString()


class _Graph:
    """Nodes and constants, each with a name of its own."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def constant(self, values: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name


def _with_numbers(graph: _Graph, ensemble: Ensemble) -> str:
    """Nodes are numbered from 0 in each tree, without gaps; a leaf of several values is listed once for each."""
    inner, tree = ensemble.child >= 0, _tree_of_nodes(ensemble)
    first = ensemble.root[tree]
    leaves, width = np.flatnonzero(~inner), ensemble.leaf.shape[1]
    entries = np.repeat(leaves, width)
    outputs = np.tile(np.arange(width), len(leaves)) + ensemble.output[tree[entries]]
    return graph.add(
        "TreeEnsembleRegressor",
        [INPUT],
        domain="ai.onnx.ml",
        n_targets=ensemble.sums,
        post_transform="NONE",
        nodes_treeids=tree.tolist(),
        nodes_nodeids=(np.arange(len(tree)) - first).tolist(),
        nodes_modes=np.where(inner, "BRANCH_LT", "LEAF").tolist(),
        nodes_featureids=ensemble.feature.tolist(),
        nodes_values=np.where(inner, ensemble.threshold, np.float32(0)).tolist(),
        nodes_truenodeids=np.where(inner, ensemble.child - first, 0).tolist(),
        nodes_falsenodeids=np.where(inner, ensemble.child + 1 - first, 0).tolist(),
        nodes_missing_value_tracks_true=(inner & ensemble.missing_left).astype(int).tolist(),
        target_treeids=tree[entries].tolist(),
        target_nodeids=(entries - first[entries]).tolist(),
        target_ids=outputs.tolist(),
        target_weights=ensemble.leaf[~ensemble.child[leaves]].reshape(-1).tolist(),
    )


def _tree_of_nodes(ensemble: Ensemble) -> np.ndarray:
    sizes = np.diff(np.append(ensemble.root, len(ensemble.child)))
    return np.repeat(np.arange(ensemble.trees), sizes)


def _with_sets(graph: _Graph, ensemble: Ensemble) -> str:
    """Codes of categories are further features. Leaves are numbered apart from inner nodes; a tree of one leaf has a
    node above it, with that leaf on both sides."""
    asked = np.flatnonzero(ensemble.categories)
    features = graph.add("Concat", [INPUT, _codes(graph, ensemble, asked)], axis=1)
    kept = ensemble.child >= 0
    kept[ensemble.root] = True
    number = np.cumsum(kept) - 1
    left = np.where(ensemble.child >= 0, ensemble.child, np.arange(len(kept)))[kept]
    right = np.where(ensemble.child >= 0, ensemble.child + 1, np.arange(len(kept)))[kept]
    first_bit = ensemble.first_bit[kept]
    asks = first_bit >= 0
    true, false = np.where(asks, right, left), np.where(asks, left, right)
    column = np.where(asks, ensemble.features + np.searchsorted(asked, ensemble.feature[kept]), ensemble.feature[kept])
    copies, leaves = ensemble.sums if ensemble.leaf.shape[1] > 1 else 1, len(ensemble.leaf)
    count = int(kept.sum())

    def branch(to: np.ndarray) -> tuple[list[int], list[int]]:
        is_leaf = ensemble.child[to] < 0
        ids = np.where(is_leaf, ~ensemble.child[to], number[to])
        step = np.where(is_leaf, leaves, count)
        return np.concatenate([ids + copy * step for copy in range(copies)]).tolist(), np.tile(
            is_leaf.astype(int), copies
        ).tolist()

    true_ids, true_leaves = branch(true)
    false_ids, false_leaves = branch(false)
    target = np.repeat(np.arange(copies), leaves) if copies > 1 else _output_of_leaves(ensemble)
    tensor = numpy_helper.from_array
    return graph.add(
        "TreeEnsemble",
        [features],
        domain="ai.onnx.ml",
        n_targets=ensemble.sums,
        post_transform=0,
        aggregate_function=1,
        tree_roots=np.concatenate([number[ensemble.root] + copy * count for copy in range(copies)]).tolist(),
        nodes_modes=tensor(np.tile(np.where(asks, _MEMBER, _LESS), copies).astype(np.uint8)),
        nodes_featureids=np.tile(column, copies).tolist(),
        nodes_splits=tensor(np.tile(np.where(asks, np.float32(0), ensemble.threshold[kept]), copies)),
        nodes_truenodeids=true_ids,
        nodes_trueleafs=true_leaves,
        nodes_falsenodeids=false_ids,
        nodes_falseleafs=false_leaves,
        nodes_missing_value_tracks_true=np.tile(ensemble.missing_left[kept].astype(int), copies).tolist(),
        membership_values=tensor(np.tile(_members(ensemble, kept), copies)),
        leaf_targetids=target.tolist(),
        leaf_weights=tensor(ensemble.leaf.T.reshape(-1)),
    )


def _codes(graph: _Graph, ensemble: Ensemble, asked: np.ndarray) -> str:
    """The codes of the features `asked`, as `trees.codes` defines them: (batch, asked) float32."""
    count = ensemble.categories[asked].astype(np.float32)
    unknown, missing = graph.constant(count), graph.constant(count + 1)
    value = graph.add("Gather", [INPUT, graph.constant(asked)], axis=1)
    whole = graph.add("Floor", [value])
    known = graph.add(
        "And",
        [
            graph.add("GreaterOrEqual", [value, graph.constant(np.zeros(1, np.float32))]),
            graph.add("Less", [value, unknown]),
        ],
    )
    if not ensemble.fractions:
        known = graph.add("And", [known, graph.add("Equal", [whole, value])])
    chosen = graph.add("Where", [known, whole, unknown])
    return graph.add("Where", [graph.add("IsNaN", [value]), missing, chosen])


def _members(ensemble: Ensemble, kept: np.ndarray) -> np.ndarray:
    """The codes that go right at each node that asks, a NaN after each set; -1, which is no code, for none."""
    parts = []
    for feature, first in zip(ensemble.feature[kept], ensemble.first_bit[kept], strict=True):
        if first >= 0:
            members = np.flatnonzero(ensemble.bits[first : first + ensemble.categories[feature] + 2])
            parts += [members if len(members) else np.array([-1]), np.array([np.nan])]
    return np.concatenate(parts).astype(np.float32)


def _output_of_leaves(ensemble: Ensemble) -> np.ndarray:
    tree = _tree_of_nodes(ensemble)
    return ensemble.output[tree[ensemble.child < 0]]
