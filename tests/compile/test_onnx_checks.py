"""Model files that are damaged, absurd or hostile: each is refused by name, and none takes the process with it."""

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from bottega.compile.join import join
from bottega.compile.lower import import_onnx, lower, read_onnx, tvm_errors
from bottega.compile.native import llvm_target
from bottega.compile.onnx_checks import OPSETS, notes
from bottega.compile.schedule import schedule
from bottega.compile.target import host
from bottega.errors import InvalidData, InvalidInput, TooLarge, Unsupported


def model(text: str, weights: Sequence[TensorProto] = (), opset: int = 20) -> bytes:
    """A model of a graph in ONNX's text form."""
    graph = parser.parse_graph(text)
    graph.initializer.extend(weights)
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return built.SerializeToString()


def compile_(content: bytes) -> None:
    """As far as one function."""
    with tvm_errors():
        join(schedule(lower(import_onnx(read_onnx(content)), llvm_target(host())), host()), "f")


def weight(array: np.ndarray, name: str = "w") -> TensorProto:
    return numpy_helper.from_array(np.asarray(array), name)


def network() -> bytes:
    """A small one with every kind of field: weights, attributes, shapes."""
    random = np.random.default_rng(0)
    weights = [
        weight(random.standard_normal((6, 8)).astype(np.float32), "a"),
        weight(random.standard_normal(8).astype(np.float32), "b"),
        weight(np.array([0, 2, 4], np.int64), "shape"),
    ]
    text = """g (float[n, 6] x) => (float[n, 2, 4] y) {
        h = Gemm <alpha: float = 0.5> (x, a, b)
        s = Softmax <axis: int = 1> (h)
        y = Reshape (s, shape)
    }"""
    return model(text, weights)


def damaged(content: bytes, seed: int) -> bytes:
    """Cut short, or with a few bits turned; half of them early in the file, where the structure is."""
    random, changed = np.random.default_rng(seed), bytearray(content)
    if seed % 3 == 0:
        return content[: random.integers(len(content))]
    reach = len(content) if seed % 3 == 1 else min(len(content), 200)
    for _ in range(random.integers(1, 5)):
        changed[random.integers(reach)] ^= 1 << random.integers(8)
    return bytes(changed)


def survives(seeds: range) -> None:
    content, refused = network(), 0
    for seed in seeds:
        try:
            with tvm_errors():
                import_onnx(read_onnx(damaged(content, seed)))
        except InvalidInput:  # Unsupported and InvalidData are among its kinds
            refused += 1
    assert refused > len(seeds) // 4


def test_damaged_models_are_refused_or_compile() -> None:
    survives(range(150))


@pytest.mark.slow
def test_thousands_of_damaged_models() -> None:
    survives(range(1000, 6000))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("g (float[2147483648] x) => (float[2147483648] y) { y = Relu(x) }", "2147483648"),
        ("g (float[1048576, 1048576] x) => (float[1048576, 1048576] y) { y = Relu(x) }", "1048576"),
        ("g (float[4294967296, 4294967296] x) => (float[a, b] y) { y = Relu(x) }", "4294967296"),
        (
            "g (float[1] x) => (float[n] y) <int64[1] s = {4000000000}> { z = ConstantOfShape(s) y = Add(x, z) }",
            "4000000000",
        ),
        ("g (float[1] x) => (float[n] y) <int64[1] s = {4000000000}> { y = Expand(x, s) }", "4000000000"),
        ("g (float[9] x) => (float[n] y) <int64[1] s = {900000000}> { y = Tile(x, s) }", "8100000000"),
        (
            "g (float[1] x) => (float[n] y) <float[1] a = {0}, int64[2] p = {0, 4000000000}> { y = Pad(x, p) }",
            "4000000001",
        ),
    ],
)
def test_tensors_beyond_the_largest_are_refused_before_they_are_made(text: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        compile_(model(text))


@pytest.mark.parametrize("op", ["z = ConstantOfShape(s) y = Add(x, z)", "y = Expand(x, s)"])
def test_a_size_that_the_graph_computes(op: str) -> None:
    constants = "<int64[1] a = {2000000000}, int64[1] b = {2}>"
    with pytest.raises(TooLarge, match="4000000000"):
        read_onnx(model(f"g (float[1] x) => (float[n] y) {constants} {{ s = Mul(a, b) {op} }}"))


def test_a_range_beyond_the_largest() -> None:
    limits = [weight(np.array(v, np.int64), n) for n, v in (("a", 0), ("b", 9_000_000_000), ("c", 1))]
    with pytest.raises(InvalidInput):
        compile_(model("g (int64[1] x) => (int64[n] y) { r = Range(a, b, c) y = Add(x, r) }", limits))


def test_a_batch_that_makes_tensors_too_large() -> None:
    content = model("g (float[n, 65536] x) => (float[n, 65536] y) { y = Relu(x) }")
    with pytest.raises(TooLarge, match="65536"):
        import_onnx(read_onnx(content), {"x": (65536, 65536)})


@pytest.mark.parametrize(
    ("dims", "error"), [([2**31], TooLarge), ([2**20, 2**20], TooLarge), ([-4], InvalidData), ([7], InvalidData)]
)
def test_a_weight_that_claims_another_size(dims: list[int], error: type[InvalidInput]) -> None:
    claimed = weight(np.ones(4, np.float32))
    del claimed.dims[:]
    claimed.dims.extend(dims)
    with pytest.raises(error):
        read_onnx(model("g (float[4] x) => (float[4] y) { y = Add(x, w) }", [claimed]))


def test_missing_numbers_among_weights() -> None:
    spoiled = weight(np.array([1, np.nan, np.nan, 2], np.float32))
    with pytest.raises(InvalidData, match="2 NaN among its 4 values"):
        read_onnx(model("g (float[4] x) => (float[4] y) { y = Add(x, w) }", [spoiled]))


def test_a_missing_number_that_stands_for_itself_is_kept() -> None:
    marker = weight(np.array(np.nan, np.float32))
    compile_(model("g (float[4] x) => (float[4] y) { b = IsNaN(x) y = Where(b, w, x) }", [marker]))


def test_infinite_weights_are_kept_and_noted() -> None:
    mask = weight(np.array([0, -np.inf, 0, 0], np.float32), "mask")
    content = model("g (float[4] x) => (float[4] y) { y = Add(x, mask) }", [mask])
    compile_(content)
    assert notes(read_onnx(content)) == ["Infinite weights are kept: mask."]
    assert notes(read_onnx(network())) == []


def test_the_newest_operators_were_all_tried() -> None:
    assert OPSETS[-1] == onnx.defs.onnx_opset_version()  # a newer onnx package: run benchmarks/onnx_nodes.py


@pytest.mark.parametrize("version", [1, 6, OPSETS[-1] + 1, 1000])
def test_a_version_of_the_operators_that_is_not_known(version: int) -> None:
    with pytest.raises(InvalidInput):
        compile_(model("g (float[4] x) => (float[4] y) { y = Relu(x) }", opset=version))


@pytest.mark.parametrize("domains", [(), ("", ""), ("", "ai.onnx"), ("other",)])
def test_no_version_or_two(domains: tuple[str, ...]) -> None:
    changed = onnx.load_model_from_string(model("g (float[4] x) => (float[4] y) { y = Relu(x) }"))
    del changed.opset_import[:]
    changed.opset_import.extend(helper.make_opsetid(domain, 20 - i) for i, domain in enumerate(domains))
    with pytest.raises(InvalidData, match="versions"):
        read_onnx(changed.SerializeToString())


@pytest.mark.parametrize(
    "text",
    [
        "g (float[4] x) => (float[4] y) { y = Relu(x) y = Neg(x) }",
        "g (float[4] x) => (float[4] y) { x = Relu(x) y = Neg(x) }",
        "g (float[4] x) => (float[4] y) { a = Relu(b) b = Neg(a) y = Add(a, b) }",
        "g (float[4] x) => (float[4] y) { y = Add(x, nowhere) }",
        "g (float[4] x) => (float[4] y, float[4] z) { y = Relu(x) }",
        "g (float[4] x, float[4] x) => (float[4] y) { y = Relu(x) }",
        "g (float[4] x) => (float[4] y) { y = Relu(x, x) }",
        "g (float[4] x) => (float[4] y) { y = NoSuchOperator(x) }",
        "g (float[4] x) => (float[5] y) { y = Relu(x) }",
        "g (float[4] x) => (int64[4] y) { y = Relu(x) }",
        "g (float[4] x, int64[4] i) => (float[4] y) { y = Add(x, i) }",
        "g (float[4, 5] x) => (float[4, 5] y) { y = MatMul(x, x) }",
        "g (float[4] x) => (float[4] y) { y = Softmax <axis: int = 7> (x) }",
    ],
)
def test_graphs_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInput):
        compile_(model(text))


@pytest.mark.parametrize("place", ["/etc/passwd", "../../secret.bin", "weights.bin", ""])
@pytest.mark.parametrize("where", ["weight", "constant", "branch"])
def test_weights_in_other_files_are_never_read(place: str, where: str) -> None:
    outside = weight(np.ones(4, np.float32))
    outside.ClearField("raw_data")
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.append(onnx.StringStringEntryProto(key="location", value=place))
    nodes = {"weight": "", "constant": "w = Constant <value: tensor = float[1] {1}> ()"}
    body = "y = Add(x, w)"
    if where == "branch":
        body = """c = Constant <value: tensor = bool {1}> ()
            y = If (c) <
                then_branch = a () => (float[4] p) { p = Constant <value: tensor = float[1] {1}> () },
                else_branch = b () => (float[4] q) { q = Identity (x) } >"""
    text = f"g (float[4] x) => (float[4] y) {{ {nodes.get(where, '')} {body} }}"
    changed = onnx.load_model_from_string(model(text, [outside] if where == "weight" else []))
    if where == "constant":
        changed.graph.node[0].attribute[0].t.CopyFrom(outside)
    if where == "branch":
        branch = next(a for a in changed.graph.node[1].attribute if a.name == "then_branch")
        branch.g.node[0].attribute[0].t.CopyFrom(outside)
    with pytest.raises(InvalidData, match="another file"):
        read_onnx(changed.SerializeToString())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("g (string[4] x) => (string[4] y) { y = Identity(x) }", "string"),
        ("g (bfloat16[4] x) => (bfloat16[4] y) { y = Relu(x) }", "bfloat16"),
        ("g (seq(float[4]) x) => (float[n] y) { y = ConcatFromSequence <axis: int = 0> (x) }", "sequence"),
        ("g (optional(float[4]) x) => (float[4] y) { y = OptionalGetElement(x) }", "optional"),
        ("g (float[0] x) => (float[0] y) { y = Relu(x) }", "without elements"),
        ("g (float[4] x) => (int64[1, n] y) { y = NonZero(x) }", "no kernel"),
    ],
)
def test_what_is_no_tensor_of_numbers_is_named(text: str, reason: str) -> None:
    with pytest.raises(Unsupported, match=reason):
        compile_(model(text))


def test_an_operator_of_somebody_else_is_not_taken_for_onnx_s() -> None:
    built = onnx.load_model_from_string(model("g (float[4] x) => (float[4] y) { y = Relu(x) }"))
    built.graph.node[0].domain = "com.example"
    built.opset_import.append(helper.make_opsetid("com.example", 1))
    with pytest.raises(Unsupported, match=r"com\.example"):
        compile_(built.SerializeToString())


def test_a_branch_and_a_loop_are_refused_unless_their_way_is_known() -> None:
    branch = """g (float[4] x, bool c) => (float[4] y) {
        y = If (c) < then_branch = a () => (float[4] p) { p = Relu(x) },
                     else_branch = b () => (float[4] q) { q = Neg(x) } > }"""
    with pytest.raises(Unsupported):
        compile_(model(branch))
    compile_(model(branch.replace(", bool c", "").replace("y = If", "c = Constant <value = bool {1}> () y = If")))
    loop = """g (float[4] x, int64 n, bool c) => (float[4] y) {
        y = Loop (n, c, x) < body = b (int64 i, bool k, float[4] p) => (bool k2, float[4] q) {
            k2 = Identity(k) q = Relu(p) } > }"""
    with pytest.raises(Unsupported):
        compile_(model(loop))


@pytest.mark.parametrize("op", ["Add", "Tanh"])
def test_long_chains_compile_in_bounded_time(op: str) -> None:
    """Each value used twice, or each function inside the next: written out into each other they would double."""
    inputs = "v{0}, v{0}" if op == "Add" else "v{0}"
    body = " ".join(f"v{i + 1} = {op}({inputs.format(i)})" for i in range(40))
    compile_(model(f"g (float[8] v0) => (float[8] v40) {{ {body} }}"))
