"""Export: a torch module becomes an ONNX model of any batch, through `torch.export`."""

import contextlib
import logging
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from bottega.errors import InvalidInput

OPSET = 18


def export_torch(
    module: nn.Module,
    example_inputs: Mapping[str, np.ndarray],
    outputs: Sequence[str],
    *,
    whole: Collection[str] = (),
) -> bytes:
    """The module as ONNX, its inputs and outputs under these names.

    `example_inputs` are arrays in the order of the module's arguments, of two rows or more: with one, `torch.export`
    takes the batch for a constant. Their first axis is the batch, but for the names in `whole`, which have no batch.
    Dropout and the like are off. Raises InvalidInput for examples of one row or none.
    """
    for name, example in example_inputs.items():
        if name not in whole and (np.ndim(example) == 0 or len(example) < 2):
            raise InvalidInput(
                f"The example of {name!r} has shape {np.shape(example)}.", next_step="Give two rows or more."
            )
    batch = torch.export.Dim("batch")
    was_training = module.training
    module.eval()
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                tuple(torch.from_numpy(np.asarray(example)) for example in example_inputs.values()),
                input_names=list(example_inputs),
                output_names=list(outputs),
                dynamic_shapes=tuple(None if name in whole else {0: batch} for name in example_inputs),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    finally:
        module.train(was_training)
    assert program is not None
    return program.model_proto.SerializeToString()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings about itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)  # it warns that torchvision is not installed
        with warnings.catch_warnings():
            # torch's own export code uses what its pytree module deprecates.
            warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
            # It says so for every input after the first one, whose batch is the same.
            warnings.filterwarnings("ignore", message=".*batch will not be used", category=UserWarning)
            yield
    finally:
        logger.setLevel(level)
