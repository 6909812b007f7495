"""Run this bundle on a machine with an NVIDIA GPU: `python3 run.py`. It needs Python 3.10, numpy and the GPU's driver.

Prints one JSON object a line: first the GPU and its peaks, then a row for each model, precision, batch and backend.
`device_us` is time between two events on the device, `end_to_end_us` includes the copies of inputs and outputs; both
are medians. `roofline_us` is the least time in which this GPU could move `bytes` and compute `flops`.

Exit code: 0 where all answers agree with the reference, 1 where one does not, 2 where there is no GPU to run on.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import quantiles
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import gpu as gpus  # noqa: E402, I001  the folder of this script may not be on the path
import tvm_abi  # noqa: E402

TOLERANCE = {"fp32": 1e-3, "fp16": 2e-2}
"""Largest error allowed, relative to the largest number of the output."""
EQUAL_SHARE = {"fp32": 0.99, "fp16": 0.5}
"""Share of whole numbers (the items of a top-k) that must be equal: scores that round alike may swap places."""
WARM_CALLS, ROUND_US, ROUNDS = 10, 20_000, 21


def main() -> int:
    """Check and measure everything in the bundle; the exit code."""
    options = _options()
    bundle = json.loads((HERE / "bundle.json").read_text("utf-8"))
    try:
        device = None if bundle["arch"] == "cpu" else gpus.Gpu(HERE / "lib", bundle["arch"])
    except gpus.NoGpu as error:
        sys.stderr.write(f"No GPU to run on: {error}. Copy this folder to a machine with an NVIDIA GPU.\n")
        return 2
    peaks = vars(device.peaks()) if device else {}
    _print({"gpu": device.name if device else "none: a rehearsal on the CPU", **bundle, **peaks})
    tvm = tvm_abi.Tvm(HERE / "lib", tvm_abi.CUDA if device else tvm_abi.CPU)
    wrong = 0
    for name in options.models or bundle["models"]:
        for precision in bundle["models"][name]:
            for row in rows(tvm, device, HERE / "models" / name, precision):
                _print({"model": name, "precision": precision, **row, **_roofline(row, precision, peaks)})
                wrong += not row["parity"]
            if options.peers:
                subprocess.run([sys.executable, str(HERE / "peers.py"), name, precision], check=False)
    return 1 if wrong else 0


def rows(tvm: Any, device: Any, folder: Path, precision: str) -> Iterator[dict[str, Any]]:
    """Parity and times of one artefact, a row a batch."""
    artefact = json.loads((folder / precision / "artefact.json").read_text("utf-8"))
    with np.load(folder / "samples.npz") as samples, np.load(folder / precision / "weights.npz") as weights:
        given = [samples[f"input:{port['name']}"] for port in artefact["inputs"]]
        expected = [samples[f"output:{port['name']}"] for port in artefact["outputs"]]
        shared = {name: tvm.tensor(weights[name]) for name in weights.files}
    for bucket in artefact["buckets"]:
        inputs, answers = ([repeat(array, bucket["batch"]) for array in arrays] for arrays in (given, expected))
        weights_of_batch = [shared[name] for name in bucket["weights"]]
        call = Call(tvm, tvm.executable(folder / precision / bucket["library"]), inputs, weights_of_batch)
        row = {"batch": bucket["batch"], "backend": "bottega", "engine": "tvm"}
        row.update(compare([tvm.download(tensor) for tensor in call.on_device()], answers, precision))
        row.update(measure(device, call.on_device, call.end_to_end))
        yield {**row, **{key: bucket[key] for key in ("flops", "bytes", "kernels", "tensor_cores")}}


class Call:
    """A compiled graph with its inputs here and on the device."""

    def __init__(self, tvm: Any, main: Any, inputs: list[np.ndarray], weights: list[Any]) -> None:
        self.tvm, self.main, self.inputs = tvm, main, inputs
        self.placed = [tvm.tensor(array) for array in inputs]
        self.arguments = [*self.placed, *weights]

    def on_device(self) -> list[Any]:
        """Run on inputs that are there already; the answer stays there."""
        return self.tvm.tensors(self.main(*self.arguments))

    def end_to_end(self) -> None:
        """Copy the inputs there, run, and copy the outputs back."""
        for tensor, array in zip(self.placed, self.inputs, strict=True):
            self.tvm.upload(tensor, array)
        for tensor in self.on_device():
            self.tvm.download(tensor)


def repeat(array: np.ndarray, batch: int) -> np.ndarray:
    """`batch` rows: those of `array`, again and again."""
    return np.ascontiguousarray(array[np.arange(batch) % len(array)])


def compare(found: list[np.ndarray], expected: list[np.ndarray], precision: str) -> dict[str, Any]:
    """Largest relative error of the floating-point outputs, share of equal numbers in the others, the verdict."""
    error, equal = 0.0, 1.0
    for ours, theirs in zip(found, expected, strict=True):
        if ours.shape != theirs.shape:
            raise SystemExit(f"An answer has the shape {ours.shape}, expected is {theirs.shape}.")
        if theirs.dtype.kind == "f":
            difference = np.abs(ours.astype(np.float64) - theirs).max() / max(1e-30, np.abs(theirs).max())
            error = max(error, float(difference) if np.isfinite(difference) else float("inf"))
        else:
            equal = min(equal, float((ours == theirs).mean()))
    parity = error <= TOLERANCE[precision] and equal >= EQUAL_SHARE[precision]
    return {"parity": parity, "max_rel_error": error, "equal_share": equal}


def measure(device: Any, on_device: Callable[[], Any], end_to_end: Callable[[], Any]) -> dict[str, Any]:
    """Medians, and quarters, in microseconds."""
    calls = _calls(end_to_end)
    found = {"end_to_end": [_wall_us(end_to_end, calls) for _ in range(ROUNDS)]}
    if device:
        for _ in range(WARM_CALLS):
            on_device()
        found["device"] = [device.time_us(on_device, calls) for _ in range(ROUNDS)]
    times: dict[str, Any] = {}
    for name, values in found.items():
        low, middle, high = quantiles(values, n=4)
        times.update({f"{name}_us": round(middle, 2), f"{name}_us_quarters": [round(low, 2), round(high, 2)]})
    return times


def _calls(run: Callable[[], Any]) -> int:
    for _ in range(WARM_CALLS):
        run()
    return max(1, min(1000, int(ROUND_US / _wall_us(run, 1))))


def _wall_us(run: Callable[[], Any], calls: int) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - started) * 1e6 / calls


def _roofline(row: dict[str, Any], precision: str, peaks: dict[str, float]) -> dict[str, Any]:
    """Achieved rates, the least time possible, and what share of the time taken that is."""
    if not peaks:
        return {}
    seconds, peak = row["device_us"] * 1e-6, peaks[f"{precision}_flops"]
    if not peak:
        return {"achieved_flops": row["flops"] / seconds, "achieved_bytes_s": row["bytes"] / seconds}
    least = max(row["flops"] / peak, row["bytes"] / peaks["bytes_s"])
    return {
        "achieved_flops": row["flops"] / seconds,
        "achieved_bytes_s": row["bytes"] / seconds,
        "bound_by": "compute" if row["flops"] / peak == least else "memory",
        "roofline_us": least * 1e6,
        "roofline_share": least / seconds,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="models of the bundle to run; all where none is named")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="do not measure torch and ONNX Runtime")
    return parser.parse_args()


def _print(row: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
