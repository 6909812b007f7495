"""The protocol's messages as classes, from `inference.binpb`, which is `inference.proto` compiled.

They live in a descriptor pool of their own: a client library in the same process that brings its own copy of the
protocol does not collide with it. After a change of the .proto file compile it again:

    python -m grpc_tools.protoc -I . --descriptor_set_out=inference.binpb inference.proto
"""

from functools import cache
from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "inference.GRPCInferenceService"


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    compiled = descriptor_pb2.FileDescriptorSet.FromString(files(__name__).joinpath("inference.binpb").read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in compiled.file:
        pool.Add(file)
    return pool


@cache
def message(name: str) -> Any:
    """The class of a message of the protocol, for example `ModelInferRequest`."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"inference.{name}"))


def methods() -> list[tuple[str, Any, Any, bool]]:
    """The service's calls: name, request class, answer class, and whether it is a stream both ways."""
    return [
        (
            method.name,
            message_factory.GetMessageClass(method.input_type),
            message_factory.GetMessageClass(method.output_type),
            method.client_streaming,
        )
        for method in _pool().FindServiceByName(SERVICE).methods
    ]
