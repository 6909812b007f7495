"""TVM's runtime through its C interface, by ctypes: any Python 3 can call it, whatever it was built for.

A value is 16 bytes: a type, and a number or a pointer. Values that TVM returns are owned and released; values that are
passed stay the caller's. The layout is that of `tvm/ffi/c_api.h`, which TVM keeps stable.
"""

import ctypes
from pathlib import Path
from typing import Any

import numpy as np

CPU, CUDA = 1, 2
_POOLED = 2  # the VM's allocator that keeps memory for the next call
_NONE, _INT, _DTYPE, _DEVICE, _STRING, _OBJECTS, _TENSOR = 0, 1, 5, 6, 8, 64, 70
_POINTER = 4
_KINDS = {"int": 0, "uint": 1, "float": 2, "bool": 6}
_HEADER = 24  # bytes of an object before its own fields


class TvmError(RuntimeError):
    """What TVM reports."""


class _Value(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int32), ("padding", ctypes.c_uint32), ("bits", ctypes.c_int64))


class _Bytes(ctypes.Structure):
    _fields_ = (("data", ctypes.c_char_p), ("size", ctypes.c_size_t))


class _DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("width", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class Object:
    """A reference to an object of TVM's; released with this one."""

    def __init__(self, tvm: "Tvm", kind: int, handle: int) -> None:
        self.tvm, self.kind, self.handle = tvm, kind, handle

    def __del__(self) -> None:
        self.tvm.ffi.TVMFFIObjectDecRef(ctypes.c_void_p(self.handle))

    def __call__(self, *arguments: Any) -> Any:
        """Call a function object."""
        return self.tvm.call(self.handle, arguments)


class Tvm:
    """The runtime's libraries, loaded from `folder`; `device` is CPU or CUDA."""

    def __init__(self, folder: Path, device: int) -> None:
        self.device = device
        self.ffi = ctypes.CDLL(str(folder / "libtvm_ffi.so"), ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(folder / "libtvm_runtime.so"), ctypes.RTLD_GLOBAL)
        if device == CUDA:
            ctypes.CDLL(str(folder / "libtvm_runtime_cuda.so"), ctypes.RTLD_GLOBAL)
        self._get_function = self.function("ffi.ModuleGetFunction")
        self._allocate = self.function("runtime.TVMTensorAllocWithScope")
        self._from_bytes = self.function("runtime.TVMTensorCopyFromBytes")
        self._to_bytes = self.function("runtime.TVMTensorCopyToBytes")
        self._length, self._item = self.function("ffi.ArraySize"), self.function("ffi.ArrayGetItem")
        self._shape = self.function("ffi.Shape")

    def function(self, name: str) -> Object:
        """A global function by name."""
        handle, encoded = ctypes.c_void_p(), name.encode()
        key = _Bytes(encoded, len(encoded))
        if self.ffi.TVMFFIFunctionGetGlobal(ctypes.byref(key), ctypes.byref(handle)) or not handle.value:
            raise TvmError(f"TVM has no function {name}.")
        return Object(self, _OBJECTS, handle.value)

    def call(self, handle: int, arguments: tuple[Any, ...]) -> Any:
        """Call the function `handle`. Raises TvmError with TVM's own words."""
        given = [value.encode() if isinstance(value, str) else value for value in arguments]
        values, result = (_Value * max(1, len(given)))(*map(_value, given)), _Value()
        code = self.ffi.TVMFFIFunctionCall(ctypes.c_void_p(handle), values, len(given), ctypes.byref(result))
        if code:
            raise TvmError(self._raised())
        return Object(self, result.kind, result.bits) if result.kind >= _OBJECTS else result.bits

    def executable(self, library: Path) -> Object:
        """The function `main` of a compiled graph."""
        module = self.function("ffi.ModuleLoadFromFile")(str(library))
        machine = self._get_function(module, "vm_load_executable", False)()
        devices = ([CUDA, 0, _POOLED] if self.device == CUDA else []) + [CPU, 0, _POOLED]
        self._get_function(machine, "vm_initialization", False)(*devices)
        main = self._get_function(machine, "main", False)
        main.keep = (module, machine)
        return main

    def tensor(self, array: np.ndarray) -> Object:
        """A copy of `array` on the device."""
        made = self._allocate(self._shape(*array.shape), array.dtype, (self.device, 0), None)
        self.upload(made, array)
        return made

    def upload(self, tensor: Object, array: np.ndarray) -> None:
        """Copy `array`, contiguous and of the tensor's size, to the device."""
        self._from_bytes(tensor, ctypes.c_void_p(array.ctypes.data), array.nbytes)

    def download(self, tensor: Object) -> np.ndarray:
        """A copy of the tensor on this side."""
        found = _DLTensor.from_address(tensor.handle + _HEADER)
        kind = next(name for name, code in _KINDS.items() if code == found.code)
        array = np.empty(found.shape[: found.ndim], "bool" if kind == "bool" else f"{kind}{found.width}")
        self._to_bytes(tensor, ctypes.c_void_p(array.ctypes.data), array.nbytes)
        return array

    def tensors(self, answer: Object) -> list[Object]:
        """The tensors of an answer, which is one tensor or an array of them."""
        if answer.kind == _TENSOR:
            return [answer]
        return [self._item(answer, index) for index in range(self._length(answer))]

    def _raised(self) -> str:
        handle = ctypes.c_void_p()
        self.ffi.TVMFFIErrorMoveFromRaised(ctypes.byref(handle))
        if not handle.value:
            return "TVM reports an error without words."
        error = Object(self, _OBJECTS, handle.value)
        kind, message = (_Bytes * 2).from_address(error.handle + _HEADER)
        return f"{kind.data.decode()}: {message.data.decode()}"


def _value(given: Any) -> _Value:
    if given is None:
        return _Value(_NONE, 0, 0)
    if isinstance(given, Object):
        return _Value(given.kind if given.kind >= _OBJECTS else _OBJECTS, 0, given.handle)
    if isinstance(given, bool | int):
        return _Value(_INT, 0, int(given))
    if isinstance(given, bytes):
        return _Value(_STRING, 0, ctypes.cast(ctypes.c_char_p(given), ctypes.c_void_p).value or 0)
    if isinstance(given, ctypes.c_void_p):
        return _Value(_POINTER, 0, given.value or 0)
    if isinstance(given, np.dtype):
        code = _KINDS[given.name.rstrip("0123456789")]
        return _Value(_DTYPE, 0, code | given.itemsize * 8 << 8 | 1 << 16)
    device, number = given
    return _Value(_DEVICE, 0, device | number << 32)
