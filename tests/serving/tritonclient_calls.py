"""Run by an interpreter that has tritonclient: every call of its public API that needs no shared memory.

    python tritonclient_calls.py HTTP_PORT GRPC_PORT

The server's model control is explicit, with the models simple, text and identity. Ends with 0 where all is right.
"""

import asyncio
import queue
import sys

import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.grpc.aio as over_grpc_aio
import tritonclient.http as over_http
import tritonclient.http.aio as over_http_aio
from tritonclient.utils import InferenceServerException

COUNT = np.arange(16, dtype=np.int32).reshape(1, 16)
ONES = np.ones((1, 16), np.int32)


def tensors(api, a=COUNT, b=ONES, datatype="INT32", **options):
    """The two inputs of the sum and difference."""
    inputs = [api.InferInput(name, list(a.shape), datatype) for name in ("INPUT0", "INPUT1")]
    for tensor, array in zip(inputs, (a, b), strict=True):
        tensor.set_data_from_numpy(array, **options)
    return inputs


def check(answer):
    """Sum and difference are right."""
    assert (answer.as_numpy("OUTPUT0") == COUNT + ONES).all()
    assert (answer.as_numpy("OUTPUT1") == COUNT - ONES).all()


def refused(call, *words):
    """The call is refused with a reason that has these words."""
    try:
        call()
    except InferenceServerException as error:
        assert all(word in str(error) for word in words), str(error)
    else:
        raise AssertionError(f"not refused: {words}")


def describe(client, as_dict):
    """Health, metadata, configuration, statistics, index, load and unload."""
    assert client.is_server_live() and client.is_server_ready()
    assert not client.is_model_ready("simple")
    refused(lambda: client.load_model("simple", config="{}"), "config")
    refused(lambda: client.load_model("nobody"), "nobody")
    for name in ("simple", "text", "identity"):
        client.load_model(name)
    assert client.is_model_ready("simple") and client.is_model_ready("simple", "1")
    found = as_dict(client.get_server_metadata())
    assert found["name"] == "bottega"
    assert as_dict(client.get_model_metadata("simple"))["versions"] == ["1"]
    config = as_dict(client.get_model_config("simple"))
    assert int(config.get("config", config)["max_batch_size"]) == 8
    assert as_dict(client.get_inference_statistics("simple"))["model_stats"][0]["name"] == "simple"
    assert len(as_dict(client.get_inference_statistics())["model_stats"]) == 3
    index = as_dict(client.get_model_repository_index())
    assert len(index.get("models", index)) == 3
    for call in (client.get_system_shared_memory_status, client.get_trace_settings, client.get_log_settings):
        refused(call)
    client.unload_model("text")
    assert not client.is_model_ready("text")
    client.load_model("text")


def infer(api, client):
    """What both transports infer alike."""
    check(client.infer("simple", tensors(api), request_id="7"))
    wanted = [api.InferRequestedOutput("OUTPUT0", class_count=2)]
    assert client.infer("simple", tensors(api), outputs=wanted).as_numpy("OUTPUT0").ravel()[0] == b"16.000000:15"
    texts = np.array([[str(i).encode() for i in range(16)]], dtype=object)
    answer = client.infer("text", tensors(api, texts, texts, "BYTES"))
    assert answer.as_numpy("OUTPUT0").ravel().tolist() == [str(2 * i).encode() for i in range(16)]
    said = api.InferInput("INPUT0", [1, 2], "BYTES")
    said.set_data_from_numpy(np.array([["ä".encode(), b""]], dtype=object))
    assert client.infer("identity", [said]).as_numpy("OUTPUT0").ravel().tolist() == ["ä".encode(), b""]
    refused(lambda: client.infer("simple", tensors(api)[:1]), "INPUT1")
    refused(lambda: client.infer("simple", tensors(api), sequence_id=4), "sequence")
    refused(lambda: client.infer("nobody", tensors(api)), "nobody")
    refused(lambda: client.infer("simple", tensors(api, COUNT[:, :15], ONES[:, :15])), "15")


def http(port):
    """The HTTP client."""
    with over_http.InferenceServerClient(f"127.0.0.1:{port}", concurrency=4) as client:
        describe(client, lambda found: found if isinstance(found, dict) else {"models": found})
        infer(over_http, client)
        for binary in (True, False):
            wanted = [over_http.InferRequestedOutput(f"OUTPUT{i}", binary_data=binary) for i in range(2)]
            check(client.infer("simple", tensors(over_http, binary_data=binary), outputs=wanted))
        for encoding in ("gzip", "deflate"):
            many = np.tile(COUNT, (8, 1)).astype(np.int32)
            answer = client.infer(
                "simple",
                tensors(over_http, many, many),
                request_compression_algorithm=encoding,
                response_compression_algorithm=encoding,
            )
            assert (answer.as_numpy("OUTPUT0") == 2 * many).all()
        for waiting in [client.async_infer("simple", tensors(over_http)) for _ in range(8)]:
            check(waiting.get_result())


def grpc(port):
    """The gRPC client, streams included."""
    with over_grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
        for name in ("simple", "text", "identity"):
            client.unload_model(name)
        describe(client, over_grpc_dict)
        infer(over_grpc, client)
        check(client.infer("simple", tensors(over_grpc), compression_algorithm="gzip"))
        found: queue.Queue = queue.Queue()
        client.async_infer("simple", tensors(over_grpc), lambda result, error: found.put((result, error)))
        result, error = found.get(timeout=20)
        assert error is None
        check(result)
        client.start_stream(lambda result, error: found.put((result, error)))
        for name in ("simple", "nobody", "simple"):
            client.async_stream_infer(name, tensors(over_grpc))
        ends = [found.get(timeout=20) for _ in range(3)]
        client.stop_stream()
        assert [error is None for _, error in ends] == [True, False, True]


def over_grpc_dict(message):
    """A message as a dictionary with its own names."""
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(message, preserving_proto_field_name=True)


async def aio(http_port, grpc_port):
    """Both clients on asyncio."""
    for api, client in (
        (over_http, over_http_aio.InferenceServerClient(f"127.0.0.1:{http_port}")),
        (over_grpc, over_grpc_aio.InferenceServerClient(f"127.0.0.1:{grpc_port}")),
    ):
        assert await client.is_server_live()
        for answer in await asyncio.gather(*(client.infer("simple", tensors(api)) for _ in range(8))):
            check(answer)
        await client.close()


if __name__ == "__main__":
    http(sys.argv[1])
    grpc(sys.argv[2])
    asyncio.run(aio(*sys.argv[1:3]))
