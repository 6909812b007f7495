"""What both tree kernels are made of: how a row is prepared, one step of a walk, and what makes the answer of a sum."""

from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr
from tvm.script import tirx as T

from bottega.compile.tree_tables import Form
from bottega.compile.trees import Link


def number(value: Expr, floor: Expr, fill: Expr) -> Expr:
    """The value of a column of numbers."""
    return T.Select(T.isnan(value), fill, T.max(value, floor))


def code(form: Form, value: Expr, categories: Expr) -> Expr:
    """The value of a column of codes, as `trees.codes` defines it: a whole number in the bits of a float32."""
    count, whole = T.Cast("float32", categories), T.floor(value)
    known = T.And(value >= T.float32(0), value < count)
    if not form.fractions:
        known = T.And(known, whole == value)
    chosen = T.Select(T.isnan(value), categories + 1, T.Select(known, T.Cast("int32", whole), categories))
    return T.reinterpret("float32", chosen)


def linked(link: Link, value: Expr, dtype: str) -> Expr:
    """The answer of one sum."""
    one = T.Cast(dtype, T.float32(1))
    match link:
        case "sigmoid":
            return one / (one + T.exp(T.min(-value, T.Cast(dtype, T.float32(88)))))
        case "exp":
            return T.exp(value)
        case "step":
            return T.Select(value > one - one, one, one - one)
        case "isolation":
            return -T.exp(value)
    return value


@dataclass(frozen=True)
class Walk:
    """Steps in tables that hold `side_by_side` trees a unit: `unit` is a tree, or a group of trees, one for each lane.

    In complete trees `node` counts from the root of its tree, else from the start of the table.
    """

    form: Form
    side_by_side: int
    bits: tirx.Buffer
    column: tirx.Buffer
    threshold: tirx.Buffer
    child: tirx.Buffer

    def root(self, root: Expr) -> Expr:
        """Where a walk starts."""
        return T.int32(0) if self.form.complete else root

    def top(self, tree: Expr, root: Expr, row: tirx.Buffer, block: Expr, at: Expr) -> Expr:
        """The node after the first `top` levels of a complete tree: each level's bit is chosen among all its nodes."""
        if not self.form.complete:
            return root
        node: Expr = T.int32(0)
        taken: list[Expr] = []
        for level in range(self.form.top):
            rights = [self.right(tree, T.int32((1 << level) - 1 + i), 0, row, block, at) for i in range(1 << level)]
            for right in reversed(taken):
                rights = [T.Select(right, b, a) for a, b in zip(rights[::2], rights[1::2], strict=True)]
            taken.append(rights[0])
            node = 2 * node + 1 + T.Cast("int32", rights[0])
        return node

    def step(self, unit: Expr, node: Expr, lane: Expr, row: tirx.Buffer, block: Expr, at: Expr) -> Expr:
        """The node after one more comparison; a leaf stays where it is."""
        right = T.Cast("int32", self.right(unit, node, lane, row, block, at))
        if self.form.complete:
            return 2 * node + 1 + right
        return T.Select(self.child[node] < 0, node, self.child[node] + right)

    def leaf(self, unit: Expr, node: Expr, lane: Expr) -> Expr:
        """The number of a leaf's values."""
        if not self.form.complete:
            return -1 - self.child[node]
        nodes = self.form.nodes
        place = (unit * (nodes + 1) + node - nodes) * self.side_by_side + lane
        return self.child[place] if self.form.wide else place

    def right(self, unit: Expr, node: Expr, lane: Expr, row: tirx.Buffer, block: Expr, at: Expr) -> Expr:
        """Whether the prepared row in `row[block, :, at]` goes right at a node."""
        place = (unit * self.form.nodes + node) * self.side_by_side + lane if self.form.complete else node
        column, threshold = self.column[place], self.threshold[place]
        value = row[block, column, at]
        if not self.form.codes:
            return value >= threshold
        bit = T.reinterpret("uint32", threshold) | T.reinterpret("uint32", value)
        word = self.bits[T.Cast("int32", T.min(bit >> T.uint32(5), T.Cast("uint32", self.bits.shape[0] - 1)))]
        return T.Select(
            column >= self.form.numbers, ((word >> T.Cast("int32", bit & T.uint32(31))) & 1) == 1, value >= threshold
        )
