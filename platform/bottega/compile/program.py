"""What the compile step produces before there is machine code: functions, their constants, and how to call them."""

import hashlib
from dataclasses import dataclass, field

import numpy as np
import tvm


@dataclass
class Program:
    """TIR functions by name, and the constants of each in the order of its parameters; equal arrays are kept once."""

    functions: dict[str, tvm.tirx.PrimFunc] = field(default_factory=dict)
    entries: dict[str, tuple[str, ...]] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, function: tvm.tirx.PrimFunc, arrays: list[np.ndarray]) -> None:
        """Add a function that is called with `arrays` between its inputs and its outputs."""
        self.functions[name] = function
        self.entries[name] = tuple(self._keep(array) for array in arrays)

    def module(self) -> tvm.IRModule:
        """All functions as one module."""
        return tvm.IRModule(self.functions)

    def _keep(self, array: np.ndarray) -> str:
        content = f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes()
        name = f"c{hashlib.sha256(content).hexdigest()[:16]}"
        self.constants[name] = array
        return name
