"""The real Triton, as the wheel of PyTriton carries it: the C++ server with its Python backend, add/sub in numpy."""

import shutil
import sys

from peers.serving.forms import ADD_SUB
from peers.serving.server import Place, Route, Server, program

_CONFIG = """
name: "add_sub"
backend: "python"
max_batch_size: 0
input [{ name: "INPUT0" data_type: TYPE_INT32 dims: [1, 16] },
  { name: "INPUT1" data_type: TYPE_INT32 dims: [1, 16] }]
output [{ name: "OUTPUT0" data_type: TYPE_INT32 dims: [1, 16] },
  { name: "OUTPUT1" data_type: TYPE_INT32 dims: [1, 16] }]
instance_group [{ kind: KIND_CPU count: 1 }]
"""


def server(place: Place) -> Server:
    """`tritonserver` with a repository of one model."""
    packages = place.python.parents[1] / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    triton, backends = packages / "pytriton" / "tritonserver", place.folder / "backends"
    shutil.copytree(triton / "backends", backends)
    stub = (
        triton / "python_backend_stubs" / f"{sys.version_info[0]}.{sys.version_info[1]}" / "triton_python_backend_stub"
    )
    shutil.copy(stub, backends / "python")
    model = place.folder / "models" / ADD_SUB
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(_CONFIG, "utf-8")
    shutil.copy(program("triton_add_sub"), model / "1" / "model.py")
    return Server(
        (
            str(triton / "bin" / "tritonserver"),
            f"--model-repository={model.parent}",
            f"--backend-directory={backends}",
            f"--http-port={place.port}",
            "--http-address=127.0.0.1",
            "--allow-grpc=false",
            "--allow-metrics=false",
        ),
        {"addsub": Route("v2_add_sub", f"/v2/models/{ADD_SUB}/infer")},
        {
            "LD_LIBRARY_PATH": str(packages / "nvidia_pytriton.libs"),
            "PATH": f"{place.python.parent}:/usr/bin:/bin",
            "PYTHONPATH": str(packages),
        },
        can_be_held=False,
    )
