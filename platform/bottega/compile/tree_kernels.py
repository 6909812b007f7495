"""Tree walks as TIR kernels: SIMD over rows for large batches, over trees for few rows.

No walk has a branch. In complete trees a step is `node = 2 * node + 1 + right`; trees that are deeper than
`COMPLETE_DEPTH` keep their shape, and a step reads where the children are. Both kernels add the leaves of a sum in
tree order, so they agree with XGBoost and with each other bit for bit. The tables are inputs: one kernel serves every
model of its form.
"""

import tvm
from tvm.script import tirx as T

from bottega.compile.program import Program
from bottega.compile.tree_steps import Form, Walk, code, linked, number
from bottega.compile.tree_tables import ROW_LANES, TREE_LANES, form_of, row_tables, tree_tables
from bottega.compile.trees import Ensemble

NAMES = ("row_lanes", "tree_lanes")


def add_trees(program: Program, ensemble: Ensemble) -> None:
    """Add both kernels, with the ensemble's tables as their constants."""
    form = form_of(ensemble)
    program.add("row_lanes", row_lanes(form), row_tables(ensemble))
    program.add("tree_lanes", tree_lanes(form), tree_tables(ensemble))


def row_lanes(form: Form) -> tvm.tirx.PrimFunc:
    """A kernel that walks each tree with `ROW_LANES` rows at once.

    Rows are prepared in tiles, so that a tree meets many rows while its nodes are in the cache.
    """
    blocks, tile_rows, finish = form.blocks, form.blocks * ROW_LANES, _finish(form)

    @T.prim_func(s_tir=True)
    def kernel(  # type: ignore[no-untyped-def]
        x: T.handle,
        source: T.handle,
        floor: T.handle,
        fill: T.handle,
        categories: T.handle,
        bits: T.handle,
        base: T.handle,
        start: T.handle,
        root: T.handle,
        steps: T.handle,
        column: T.handle,
        threshold: T.handle,
        child: T.handle,
        leaf: T.handle,
        y: T.handle,
    ):
        T.func_attr({"global_symbol": "row_lanes", "tirx.noalias": True})
        rows, starts, trees, words = T.int32(), T.int32(), T.int32(), T.int32()
        nodes, children, leaves = T.int32(), T.int32(), T.int32()
        X = T.match_buffer(x, (rows, form.features), "float32")
        Source = T.match_buffer(source, (form.columns,), "int32")
        Floor = T.match_buffer(floor, (form.columns,), "float32")
        Fill = T.match_buffer(fill, (form.columns,), "float32")
        Categories = T.match_buffer(categories, (form.columns,), "int32")
        Bits = T.match_buffer(bits, (words,), "int32")
        Base = T.match_buffer(base, (form.sums,), form.dtype)
        Start = T.match_buffer(start, (starts,), "int32")
        Root = T.match_buffer(root, (trees,), "int32")
        Steps = T.match_buffer(steps, (trees,), "int32")
        Column = T.match_buffer(column, (nodes,), "int32")
        Threshold = T.match_buffer(threshold, (nodes,), "float32")
        Child = T.match_buffer(child, (children,), "int32")
        Leaf = T.match_buffer(leaf, (leaves, form.width), "float32")
        Y = T.match_buffer(y, (rows, form.outputs), "float32")
        walk = T.meta_var(Walk(form, 1, Bits, Column, Threshold, Child))
        for tile in range((rows + tile_rows - 1) // tile_rows):
            row = T.alloc_buffer((blocks, form.columns, ROW_LANES), "float32", scope="local")
            node = T.alloc_buffer((ROW_LANES,), "int32", scope="local")
            total = T.alloc_buffer((blocks, form.sums, ROW_LANES), form.dtype, scope="local")
            filled: T.let = T.min(blocks, (rows - tile * tile_rows + ROW_LANES - 1) // ROW_LANES)
            for block, lane in T.grid(filled, ROW_LANES):
                at: T.let = T.min(tile * tile_rows + block * ROW_LANES + lane, rows - 1)
                for i in range(form.numbers):
                    row[block, i, lane] = number(X[at, Source[i]], Floor[i], Fill[i])
                for i in range(form.numbers, form.columns):
                    row[block, i, lane] = code(form, X[at, Source[i]], Categories[i])
                for i in range(form.sums):
                    total[block, i, lane] = Base[i]
            for group in range(starts - 1):
                for tree in range(Start[group], Start[group + 1]):
                    for block in range(filled):
                        for lane in T.vectorized(ROW_LANES):
                            node[lane] = walk.top(tree, Root[tree], row, block, lane)
                        for _ in T.unroll(form.depth - form.top) if form.complete else T.serial(Steps[tree]):
                            for lane in T.vectorized(ROW_LANES):
                                node[lane] = walk.step(tree, node[lane], 0, row, block, lane)
                        for k in range(form.width):
                            for lane in T.vectorized(ROW_LANES):
                                total[block, group + k, lane] = total[block, group + k, lane] + T.Cast(
                                    form.dtype, Leaf[walk.leaf(tree, node[lane], 0), k]
                                )
            for block, lane in T.grid(filled, ROW_LANES):
                if tile * tile_rows + block * ROW_LANES + lane < rows:
                    finish(Y, tile * tile_rows + block * ROW_LANES + lane, total, block, lane)

    return kernel


def tree_lanes(form: Form) -> tvm.tirx.PrimFunc:
    """A kernel that walks `TREE_LANES` trees at once with one row."""
    finish = _finish(form)

    @T.prim_func(s_tir=True)
    def kernel(  # type: ignore[no-untyped-def]
        x: T.handle,
        source: T.handle,
        floor: T.handle,
        fill: T.handle,
        categories: T.handle,
        bits: T.handle,
        base: T.handle,
        start: T.handle,
        root: T.handle,
        steps: T.handle,
        column: T.handle,
        threshold: T.handle,
        child: T.handle,
        leaf: T.handle,
        y: T.handle,
    ):
        T.func_attr({"global_symbol": "tree_lanes", "tirx.noalias": True})
        rows, starts, groups, words = T.int32(), T.int32(), T.int32(), T.int32()
        nodes, children, leaves = T.int32(), T.int32(), T.int32()
        X = T.match_buffer(x, (rows, form.features), "float32")
        Source = T.match_buffer(source, (form.columns,), "int32")
        Floor = T.match_buffer(floor, (form.columns,), "float32")
        Fill = T.match_buffer(fill, (form.columns,), "float32")
        Categories = T.match_buffer(categories, (form.columns,), "int32")
        Bits = T.match_buffer(bits, (words,), "int32")
        Base = T.match_buffer(base, (form.sums,), form.dtype)
        Start = T.match_buffer(start, (starts,), "int32")
        Root = T.match_buffer(root, (groups, TREE_LANES), "int32")
        Steps = T.match_buffer(steps, (groups,), "int32")
        Column = T.match_buffer(column, (nodes,), "int32")
        Threshold = T.match_buffer(threshold, (nodes,), "float32")
        Child = T.match_buffer(child, (children,), "int32")
        Leaf = T.match_buffer(leaf, (leaves, form.width), "float32")
        Y = T.match_buffer(y, (rows, form.outputs), "float32")
        walk = T.meta_var(Walk(form, TREE_LANES, Bits, Column, Threshold, Child))
        for r in range(rows):
            row = T.alloc_buffer((1, form.columns, 1), "float32", scope="local")
            node = T.alloc_buffer((TREE_LANES,), "int32", scope="local")
            value = T.alloc_buffer((TREE_LANES,), "float32", scope="local")
            total = T.alloc_buffer((1, form.sums, 1), form.dtype, scope="local")
            for i in range(form.numbers):
                row[0, i, 0] = number(X[r, Source[i]], Floor[i], Fill[i])
            for i in range(form.numbers, form.columns):
                row[0, i, 0] = code(form, X[r, Source[i]], Categories[i])
            for i in range(form.sums):
                total[0, i, 0] = Base[i]
            for s in range(starts - 1):
                for group in range(Start[s], Start[s + 1]):
                    for lane in T.vectorized(TREE_LANES):
                        node[lane] = walk.root(Root[group, lane])
                    for _ in range(form.depth if form.complete else Steps[group]):
                        for lane in T.vectorized(TREE_LANES):
                            node[lane] = walk.step(group, node[lane], lane, row, 0, 0)
                    for lane in T.vectorized(TREE_LANES):
                        node[lane] = walk.leaf(group, node[lane], lane)
                    if form.wide:
                        for lane, k in T.grid(TREE_LANES, form.width):
                            total[0, k, 0] = total[0, k, 0] + T.Cast(form.dtype, Leaf[node[lane], k])
                    else:
                        for lane in T.vectorized(TREE_LANES):
                            value[lane] = Leaf[node[lane], 0]
                        for lane in T.unroll(TREE_LANES):
                            total[0, s, 0] = total[0, s, 0] + T.Cast(form.dtype, value[lane])
            finish(Y, r, total, 0, 0)

    return kernel


def _finish(form: Form):  # type: ignore[no-untyped-def]
    """Writes a row's answer, given its sums."""
    dtype, zero = form.dtype, (lambda: T.Cast(form.dtype, T.float32(0)))

    @T.inline
    def each(Y, r, total, block, lane):
        for k in range(form.sums):
            Y[r, k] = T.Cast("float32", linked(form.link, total[block, k, lane], dtype))

    @T.inline
    def softmax(Y, r, total, block, lane):
        largest = T.alloc_buffer((1,), dtype, scope="local")
        powers = T.alloc_buffer((1,), dtype, scope="local")
        largest[0] = total[block, 0, lane]
        for k in range(1, form.sums):
            largest[0] = T.max(largest[0], total[block, k, lane])
        powers[0] = zero()
        for k in range(form.sums):
            total[block, k, lane] = T.exp(total[block, k, lane] - largest[0])
            powers[0] = powers[0] + total[block, k, lane]
        for k in range(form.sums):
            Y[r, k] = T.Cast("float32", total[block, k, lane] / powers[0])

    @T.inline
    def argmax(Y, r, total, block, lane):
        best = T.alloc_buffer((1,), "int32", scope="local")
        best[0] = 0
        for k in range(1, form.sums):
            if total[block, k, lane] > total[block, best[0], lane]:
                best[0] = k
        Y[r, 0] = T.Cast("float32", best[0])

    return {"softmax": softmax, "argmax": argmax}.get(form.link, each)
