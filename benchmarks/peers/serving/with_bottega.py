"""Bottega: the regressor compiled by the build of plain models, add/sub as a file, behind `bottega serve`."""

import sys

from peers.serving import model
from peers.serving.forms import ADD_SUB, MODEL
from peers.serving.server import Place, Route, Server, ours

_CONFIG = """
name: "add_sub"
max_batch_size: 64
input [{ name: "INPUT0" data_type: TYPE_INT32 dims: [16] }, { name: "INPUT1" data_type: TYPE_INT32 dims: [16] }]
output [{ name: "OUTPUT0" data_type: TYPE_INT32 dims: [16] }, { name: "OUTPUT1" data_type: TYPE_INT32 dims: [16] }]
"""


def server(place: Place) -> Server:
    """One process, HTTP and gRPC, with metrics and the prediction log as they are."""
    from bottega.compile.plain_build import build_plain
    from bottega.compile.xgboost_trees import read_xgboost
    from bottega.workspace import Workspace

    workspace, repository = Workspace.open(place.folder / "workspace"), place.folder / "models"
    regressor, add_sub = repository / MODEL, repository / ADD_SUB
    regressor.mkdir(parents=True)
    (add_sub / "1").mkdir(parents=True)
    source = read_xgboost(place.model.read_bytes())
    build_plain(source, regressor / "1", name=MODEL, version="1", key=workspace.signing_key())
    (add_sub / "1" / "model.onnx").write_bytes(model.add_sub())
    (add_sub / "config.pbtxt").write_text(_CONFIG, "utf-8")
    json_route = Route("v2", f"/v2/models/{MODEL}/infer")
    return Server(
        (
            *(sys.executable, "-m", "bottega.cli", "serve", "--repository", str(repository)),
            *("--workspace", str(workspace.root), "--http-port", str(place.port), "--grpc-port", str(place.grpc_port)),
        ),
        {
            "json_1": json_route,
            "json_32": json_route,
            "binary_32": Route("v2_binary", json_route.path),
            "grpc_1": Route("grpc"),
            "addsub": Route("v2_add_sub", f"/v2/models/{ADD_SUB}/infer"),
        },
        ours(),
    )
