"""The instruction that int8 products are made of: 16 columns by 4 rows of weights, added to 16 sums."""

# mypy: disable-error-code="valid-type"
# TVM's script writes the shape of a tensor as its annotation.

import functools

from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T

_NAME = "bottega.dot_16x4"


@T.prim_func(s_tir=True)
def _loops(
    bytes_: T.Buffer((4,), "uint8", offset_factor=1),
    weights: T.Buffer((16, 4), "int8", offset_factor=1),
    sums: T.Buffer((16,), "int32", offset_factor=1, scope="local"),
) -> None:
    with T.sblock("root"):
        T.reads(sums[0:16], bytes_[0:4], weights[0:16, 0:4])
        T.writes(sums[0:16])
        for i in T.serial(0, 16):
            for k in T.serial(0, 4):
                with T.sblock("update"):
                    column, row = T.axis.remap("SR", [i, k])
                    sums[column] = sums[column] + T.cast(bytes_[row], "int32") * T.cast(weights[column, row], "int32")


@T.prim_func(s_tir=True)
def _vnni(
    bytes_: T.Buffer((4,), "uint8", offset_factor=1),
    weights: T.Buffer((16, 4), "int8", offset_factor=1),
    sums: T.Buffer((16,), "int32", offset_factor=1, scope="local"),
) -> None:
    with T.sblock("root"):
        T.reads(sums[0:16], bytes_[0:4], weights[0:16, 0:4])
        T.writes(sums[0:16])
        sums[T.ramp(T.int32(0), 1, 16)] = T.call_llvm_pure_intrin(
            T.llvm_lookup_intrinsic_id("llvm.x86.avx512.vpdpbusd.512"),
            sums.vload([0], dtype="int32x16"),
            T.reinterpret(T.broadcast(T.reinterpret(bytes_.vload([0], "uint8x4"), dtype="int32"), 16), dtype="int8x64"),
            weights.vload([0, 0], dtype="int8x64"),
            dtype="int32x16",
        )


@functools.cache
def vnni() -> str:
    """Register the instruction with TVM; its name."""
    TensorIntrin.register(_NAME, _loops, _vnni, override=True)
    return _NAME
