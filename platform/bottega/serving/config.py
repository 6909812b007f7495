"""`config.pbtxt`: a plain model's configuration in protobuf's text form, as inference servers share it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from bottega.errors import InvalidData, Unsupported
from bottega.serving.protocol import TensorSpec

CONFIG = "config.pbtxt"


class ConfiguredTensor(msgspec.Struct, frozen=True):
    """A tensor as configured: dimensions without the batch."""

    name: str
    datatype: str
    dims: tuple[int, ...]


class ModelConfig(msgspec.Struct, frozen=True):
    """What a configuration asks for. `latest` is how many of the newest versions to serve, 0 for all."""

    max_batch_size: int = 0
    inputs: tuple[ConfiguredTensor, ...] = ()
    outputs: tuple[ConfiguredTensor, ...] = ()
    filename: str = ""
    latest: int = 0
    versions: tuple[int, ...] = ()

    def check(self, model: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
        """Raise InvalidData where the model's tensors are not the configured ones."""
        for what, configured, found in (("input", self.inputs, inputs), ("output", self.outputs, outputs)):
            for tensor in configured:
                self._check_tensor(model, what, tensor, found)
        if self.max_batch_size and any(tensor.shape[:1] != (-1,) for tensor in inputs):
            fixed = next(tensor for tensor in inputs if tensor.shape[:1] != (-1,))
            raise InvalidData(
                f"{CONFIG} of {model}: max_batch_size is {self.max_batch_size}, "
                f"and the input {fixed.name!r} has the fixed shape {list(fixed.shape)}.",
                next_step="Set it to 0, or export the model with a first axis of any size.",
            )

    def _check_tensor(self, model: str, what: str, tensor: ConfiguredTensor, found: Sequence[TensorSpec]) -> None:
        same = next((spec for spec in found if spec.name == tensor.name), None)
        if same is None:
            raise InvalidData(
                f"{CONFIG} of {model}: the model has no {what} {tensor.name!r}.",
                next_step=f"It has {', '.join(spec.name for spec in found)}.",
            )
        shape = same.shape[1:] if self.max_batch_size else same.shape
        pairs = zip(shape, tensor.dims, strict=False)
        fits = len(shape) == len(tensor.dims) and all(-1 in pair or pair[0] == pair[1] for pair in pairs)
        if same.datatype != tensor.datatype or not fits:
            raise InvalidData(
                f"{CONFIG} of {model}: the {what} {tensor.name!r} is {tensor.datatype} {list(tensor.dims)}, "
                f"in the model it is {same.datatype} {list(shape)}."
            )


def read_config(folder: Path, name: str) -> ModelConfig:
    """The configuration of the model in `folder`; the defaults where it has none.

    Raises InvalidData with the place for a text that is no configuration, Unsupported for a model that keeps state.
    """
    path = folder / CONFIG
    if not path.is_file():
        return ModelConfig()
    from google.protobuf import text_format

    from bottega.serving.proto import message

    try:
        found = text_format.Parse(path.read_text("utf-8"), message("ModelConfig")(), allow_unknown_field=True)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InvalidData(f"{path} is no model configuration: {error}.") from None
    if found.name and found.name != name:
        raise InvalidData(f"{path}: the name is {found.name!r}, the folder's is {name!r}.")
    if found.WhichOneof("scheduling_choice") in ("sequence_batching", "ensemble_scheduling"):
        raise Unsupported(f"{path}: {found.WhichOneof('scheduling_choice')} is not served here.")
    if found.max_batch_size < 0:
        raise InvalidData(f"{path}: max_batch_size is {found.max_batch_size}; it is 0 or more.")
    if Path(found.default_model_filename).name != found.default_model_filename:
        raise InvalidData(f"{path}: default_model_filename {found.default_model_filename!r} is no plain file name.")
    policy = found.version_policy
    return ModelConfig(
        found.max_batch_size,
        tuple(_tensor(path, one) for one in found.input),
        tuple(_tensor(path, one) for one in found.output),
        found.default_model_filename,
        policy.latest.num_versions if policy.WhichOneof("policy_choice") == "latest" else 0,
        tuple(policy.specific.versions),
    )


def _tensor(path: Path, one: Any) -> ConfiguredTensor:
    from bottega.serving.proto import message

    kinds = message("ModelInput").DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number
    kind = kinds[one.data_type].name.removeprefix("TYPE_") if one.data_type in kinds else "INVALID"
    if kind in ("INVALID", "BF16"):
        raise InvalidData(f"{path}: {one.name!r} has the data_type {kind}, which is not served here.")
    return ConfiguredTensor(one.name, "BYTES" if kind == "STRING" else kind, tuple(one.dims))
