"""The same model in other engines on the same GPU: `python3 peers.py MODEL PRECISION`, started by `run.py`.

torch eager and torch.compile with CUDA graphs run the exported program; ONNX Runtime runs the ONNX graph. Each is
measured where it is installed with CUDA; where it is not, or fails, its row says why. fp16 is torch's autocast.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import run  # noqa: E402  the folder of this script may not be on the path


def main(name: str, precision: str) -> None:
    """Print a row for each engine and batch."""
    folder = HERE / "models" / name
    artefact = json.loads((folder / precision / "artefact.json").read_text("utf-8"))
    with np.load(folder / "samples.npz") as samples:
        given = {port["name"]: samples[f"input:{port['name']}"] for port in artefact["inputs"]}
        expected = [samples[f"output:{port['name']}"] for port in artefact["outputs"]]
    for engine in (torch_eager, torch_compiled, onnxruntime_cuda):
        try:
            for batch in (bucket["batch"] for bucket in artefact["buckets"]):
                inputs = {key: run.repeat(array, batch) for key, array in given.items()}
                answers = [run.repeat(array, batch) for array in expected]
                row = {"model": name, "precision": precision, "batch": batch, "backend": engine.__name__}
                sys.stdout.write(json.dumps({**row, **engine(folder, inputs, answers, precision)}) + "\n")
        except Exception as error:  # noqa: BLE001  a peer may fail in any way, and the others shall still run
            words = (str(error).strip().splitlines() or [""])[0]
            sys.stdout.write(
                json.dumps({"model": name, "backend": engine.__name__, "absent": f"{error!r:.40}: {words}"}) + "\n"
            )
        sys.stdout.flush()


Inputs = dict[str, np.ndarray]


def torch_eager(folder: Path, inputs: Inputs, expected: list[np.ndarray], precision: str) -> dict[str, Any]:
    """The exported program, operator by operator."""
    return _torch(folder, inputs, expected, precision, lambda module: module)


def torch_compiled(folder: Path, inputs: Inputs, expected: list[np.ndarray], precision: str) -> dict[str, Any]:
    """The exported program through torch.compile, replayed as CUDA graphs, a graph for each batch size."""
    import torch

    torch._dynamo.reset()
    return _torch(
        folder, inputs, expected, precision, lambda m: torch.compile(m, mode="reduce-overhead", dynamic=False)
    )


def _torch(
    folder: Path, inputs: Inputs, expected: list[np.ndarray], precision: str, wrap: Callable[[Any], Any]
) -> dict:
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError("this torch has no CUDA")
    module = wrap(torch.export.load(str(folder / "torch.pt2")).module().cuda())
    placed = [torch.from_numpy(array).cuda() for array in inputs.values()]
    half = torch.autocast("cuda", torch.float16, enabled=precision == "fp16")

    def call() -> list[Any]:
        with torch.inference_mode(), half:
            found = module(*placed)
        return list(found) if isinstance(found, tuple | list) else [found]

    def end_to_end() -> None:
        for tensor, array in zip(placed, inputs.values(), strict=True):
            tensor.copy_(torch.from_numpy(array))
        for tensor in call():
            tensor.cpu()

    answers = [
        tensor.float().cpu().numpy() if tensor.is_floating_point() else tensor.cpu().numpy() for tensor in call()
    ]
    times = run.measure(TorchEvents(torch), call, end_to_end)
    return {**run.compare(answers, expected, precision), **times}


class TorchEvents:
    """Time on the device by torch's events, on torch's stream."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch

    def time_us(self, call: Callable[[], Any], calls: int) -> float:
        """Microseconds of one of `calls` calls between two events."""
        start, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(calls):
            call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) * 1e3 / calls


def onnxruntime_cuda(folder: Path, inputs: Inputs, expected: list[np.ndarray], precision: str) -> dict[str, Any]:
    """The ONNX graph in float32, copies included: its own time on the device is not seen from outside."""
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise RuntimeError("this ONNX Runtime has no CUDA")
    if precision != "fp32":
        raise RuntimeError("measured in fp32 only")
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CUDAExecutionProvider"])
    times = run.measure(None, lambda: None, lambda: session.run(None, inputs))
    return {**run.compare(session.run(None, inputs), expected, precision), **times}


if __name__ == "__main__":
    main(*sys.argv[1:3])
