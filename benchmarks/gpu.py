"""The reference networks for a GPU: builds a bundle here, without one, and runs it where there is one.

    python benchmarks/gpu.py build OUT     the folder OUT, and OUT.tar.xz to be sent to a machine with a GPU
    python OUT/run.py                      there: parity, times and rooflines as rows of JSON

What the rows mean is said by `python OUT/run.py --help`.
"""

import argparse
import io
import sys
import warnings
from pathlib import Path

import torch

from bottega.compile.cuda import ARCH, BUCKETS
from bottega.compile.cuda_bundle import Bundled, write_bundle
from models.reference import NAMES, ReferenceModel, reference_model

ROWS = 64
"""Rows of inputs that the bundle carries; a larger batch repeats them."""
PICTURES = 16
_SEED = 5


def bundled(name: str) -> Bundled:
    """A reference network with inputs drawn for it."""
    model = reference_model(name)
    inputs = model.inputs(PICTURES if name == "cnn" else ROWS, _SEED)
    return Bundled(name, model.onnx(), inputs, exported(model))


def exported(model: ReferenceModel) -> bytes:
    """The network as torch saves an exported program, of any batch."""
    inputs = tuple(map(torch.from_numpy, model.inputs(2, 0).values()))
    batch, content = torch.export.Dim("batch"), io.BytesIO()
    with warnings.catch_warnings():
        # torch's own export code uses what its pytree module deprecates.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
        program = torch.export.export(model.module, inputs, dynamic_shapes=tuple({0: batch} for _ in inputs))
        torch.export.save(program, content)
    return content.getvalue()


def main() -> None:
    """Build the bundle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    build = commands.add_parser("build", help="make the bundle")
    build.add_argument("out", type=Path)
    build.add_argument("--models", nargs="+", choices=NAMES, default=NAMES)
    build.add_argument("--buckets", nargs="+", type=int, default=BUCKETS)
    build.add_argument("--precisions", nargs="+", choices=("fp32", "fp16"), default=("fp32", "fp16"))
    build.add_argument("--arch", default=ARCH)
    options = parser.parse_args()
    models = [bundled(name) for name in options.models]
    packed = write_bundle(
        options.out,
        models,
        buckets=options.buckets,
        precisions=options.precisions,
        arch=options.arch,
        progress=lambda task, done, total: print(f"{task}: {done} of {total}", file=sys.stderr),
    )
    print(f"{packed} has {packed.stat().st_size / 1e6:.0f} MB. Unpack it on a machine with a GPU and run run.py.")


if __name__ == "__main__":
    main()
