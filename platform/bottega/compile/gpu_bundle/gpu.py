"""The GPU through CUDA's runtime library, by ctypes: is there one, what can it do at best, how long did it work."""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Numbers of cudaDeviceAttr.
_CLOCK_KHZ, _PROCESSORS, _MEMORY_KHZ, _BUS_BITS, _MAJOR, _MINOR = 13, 16, 36, 37, 75, 76
_FP32_LANES = {(8, 0): 64}
_FP16_FLOPS = {(8, 0): 2048, (9, 0): 4096, (10, 0): 8192}
"""Dense tensor-core operations of one processor in one cycle, by compute capability: the peak in NVIDIA's data sheet
divided by processors and boost clock. A capability that is not here has no peak in the rows."""


class NoGpu(RuntimeError):
    """There is no GPU that this bundle runs on, and why."""


@dataclass(frozen=True)
class Peaks:
    """What the GPU can do at most, at the clocks that it reports: bytes and operations in a second."""

    bytes_s: float
    fp32_flops: float
    fp16_flops: float


class Gpu:
    """The first GPU. Raises NoGpu where there is none, or one that does not run code for `arch`."""

    def __init__(self, folder: Path, arch: str) -> None:
        try:
            self.driver = ctypes.CDLL("libcuda.so.1", ctypes.RTLD_GLOBAL)
        except OSError:
            raise NoGpu("there is no NVIDIA driver on this machine (libcuda.so.1 does not load)") from None
        self.cuda = ctypes.CDLL(str(folder / "libcudart.so.13"), ctypes.RTLD_GLOBAL)
        self.cuda.cudaGetErrorString.restype = ctypes.c_char_p
        count = ctypes.c_int()
        self._check(self.cuda.cudaGetDeviceCount(ctypes.byref(count)))
        if count.value < 1:
            raise NoGpu("the driver finds no GPU")
        self._check(self.cuda.cudaSetDevice(0))
        self.capability = (self._attribute(_MAJOR), self._attribute(_MINOR))
        needed = int(arch.removeprefix("sm_"))
        if (needed // 10, needed % 10) > self.capability or needed // 10 != self.capability[0]:
            raise NoGpu(
                f"this bundle was built for {arch}, the GPU here is sm_{self.capability[0]}{self.capability[1]}"
            )

    @property
    def name(self) -> str:
        """Its marketing name."""
        text = ctypes.create_string_buffer(256)
        self.driver.cuDeviceGetName(text, len(text), 0)
        return text.value.decode()

    def peaks(self) -> Peaks:
        """From clocks, bus width and processors."""
        cycles = self._attribute(_CLOCK_KHZ) * 1e3 * self._attribute(_PROCESSORS)
        memory = 2 * self._attribute(_MEMORY_KHZ) * 1e3 * self._attribute(_BUS_BITS) / 8
        lanes, tensor = _FP32_LANES.get(self.capability, 128), _FP16_FLOPS.get(self.capability, 0)
        return Peaks(memory, 2 * lanes * cycles, tensor * cycles)

    def synchronise(self) -> None:
        """Wait until the GPU has done what it was asked."""
        self._check(self.cuda.cudaDeviceSynchronize())

    def time_us(self, run: Callable[[], Any], calls: int) -> float:
        """Microseconds of one of `calls` calls between two events on the device: its work, and its waits in between."""
        events = [ctypes.c_void_p(), ctypes.c_void_p()]
        for event in events:
            self._check(self.cuda.cudaEventCreate(ctypes.byref(event)))
        self.synchronise()
        self._check(self.cuda.cudaEventRecord(events[0], None))
        for _ in range(calls):
            run()
        self._check(self.cuda.cudaEventRecord(events[1], None))
        self._check(self.cuda.cudaEventSynchronize(events[1]))
        milliseconds = ctypes.c_float()
        self._check(self.cuda.cudaEventElapsedTime(ctypes.byref(milliseconds), *events))
        for event in events:
            self.cuda.cudaEventDestroy(event)
        return milliseconds.value * 1e3 / calls

    def _attribute(self, number: int) -> int:
        value = ctypes.c_int()
        self._check(self.cuda.cudaDeviceGetAttribute(ctypes.byref(value), number, 0))
        return value.value

    def _check(self, code: int) -> None:
        if code:
            raise NoGpu(f"CUDA says: {self.cuda.cudaGetErrorString(code).decode()}")
