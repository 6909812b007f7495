"""Following the deployments: what is live is what the file says, and nothing else is kept."""

import asyncio
import gc
import weakref
from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import pytest

from bottega.compile.manifest import Manifest, hashes, write_manifest
from bottega.compile.recorded import RECORDED
from bottega.errors import NotFound, Unavailable
from bottega.serving import deployment
from bottega.serving.live import LiveEndpoints
from bottega.serving.metrics import Metrics
from bottega.workspace import Workspace

Fresh = Callable[[], Workspace]


@pytest.fixture
def no_garbage_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def test_a_swapped_out_version_leaves_memory_at_once(fresh: Fresh, no_garbage_collector: None) -> None:
    workspace = fresh()
    live = LiveEndpoints(workspace, Metrics())
    asyncio.run(live.refresh())
    old = weakref.ref(live.endpoints["eta"].artifact)
    deployment.deploy(workspace, "eta", 2, "swap")
    asyncio.run(live.refresh())
    assert live.endpoints["eta"].version == 2
    assert old() is None


def test_an_unchanged_file_changes_nothing(fresh: Fresh) -> None:
    workspace = fresh()
    live = LiveEndpoints(workspace, Metrics())
    asyncio.run(live.refresh())
    endpoint = live.endpoints["eta"]
    deployment.deploy(workspace, "eta", 1, "the same again")
    asyncio.run(live.refresh())
    assert live.endpoints["eta"] is endpoint


def test_what_is_no_longer_deployed_stops_answering(fresh: Fresh) -> None:
    workspace = fresh()
    live = LiveEndpoints(workspace, Metrics())
    asyncio.run(live.refresh())
    workspace.deployments.unlink()
    asyncio.run(live.refresh())
    assert live.ready
    with pytest.raises(NotFound, match=r"No model 'eta' is live\. Live: none\."):
        live.get("eta")


def test_a_damaged_file_leaves_everything_as_it_is(fresh: Fresh) -> None:
    workspace = fresh()
    live = LiveEndpoints(workspace, Metrics())
    asyncio.run(live.refresh())
    workspace.deployments.write_text("{")
    asyncio.run(live.refresh())
    assert live.get("eta").version == 1


def test_an_artefact_of_another_workspace_is_not_loaded(fresh: Fresh) -> None:
    workspace = fresh()
    (workspace.root / "signing.key").unlink()  # as in a workspace that copied only the repository
    live = LiveEndpoints(workspace, Metrics())
    asyncio.run(live.refresh())
    assert not live.ready
    with pytest.raises(Unavailable, match=r"version 1: .*signature"):
        live.get("eta")


def test_a_version_that_answers_otherwise_than_when_it_was_built_does_not_go_live(fresh: Fresh) -> None:
    workspace = fresh()
    folder, key = workspace.repository / "eta" / "2", workspace.signing_key()
    with np.load(folder / RECORDED) as recorded:
        kept = dict(recorded)
    np.savez(folder / RECORDED, features=kept["features"], prediction=kept["prediction"] * np.float32(1.001))
    manifest = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest)
    write_manifest(folder, msgspec.structs.replace(manifest, files=hashes(folder)), key)  # signed, and wrong
    live = LiveEndpoints(workspace, Metrics())
    asyncio.run(live.refresh())
    deployment.deploy(workspace, "eta", 2, "try it")
    asyncio.run(live.refresh())
    assert live.endpoints["eta"].version == 1
    assert "when it was built" in live.failures["eta"]
