"""Tenants: each token asks its own models, and says nothing of the others."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from bottega.errors import InvalidData, InvalidInput, NotFound
from bottega.serving.address import TOKEN_VARIABLE
from bottega.serving.process import running
from bottega.serving.server import open_guard
from bottega.serving.tenants import Caller, Forbidden, Guard, read_tenants
from bottega.serving.web import Unauthorized
from bottega.workspace import Workspace

Fresh = Callable[[], Workspace]
ROW = {"pu_zone": 3, "do_zone": 4, "at": "2024-01-16T08:30:00-05:00"}


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def write(path: Path, *tenants: tuple[str, str, list[str]]) -> Path:
    tables = [f'[{name}]\ntoken_sha256 = "{digest(token)}"\nmodels = {models!r}\n' for name, token, models in tenants]
    path.write_text("".join(tables))
    return path


def test_each_token_asks_its_own_models(fresh: Fresh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "operator")
    file = write(tmp_path / "tenants.toml", ("riders", "r", ["eta", "gone"]), ("shop", "s", ["eta-raw"]))

    def status(method: str, path: str, token: str) -> int:
        body = {"json": ROW} if method == "POST" else {}
        response = http.request(method, path, headers={"authorization": f"Bearer {token}"}, **body)
        if response.status_code >= 400:
            assert list(response.json()) == ["error"]
        return response.status_code

    with running(fresh(), options=["--tenants", str(file)]) as address, httpx.Client(base_url=address.url) as http:
        asked = [
            ("POST", "/v1/eta/predict", (200, 200, 403, 401)),
            ("GET", "/v1/eta", (200, 200, 403, 401)),
            ("GET", "/v2/models/eta", (200, 200, 403, 401)),
            ("GET", "/v2/models/eta/versions/1/ready", (200, 200, 403, 401)),
            ("GET", "/v2/models/eta-raw", (200, 403, 200, 401)),
            ("GET", "/v2/models/gone", (404, 404, 403, 401)),
            ("GET", "/v2/models/unknown", (404, 403, 403, 401)),
            ("GET", "/v2", (200, 200, 200, 401)),
            ("GET", "/v2/models/stats", (200, 403, 403, 401)),
            ("GET", "/v1/status", (200, 403, 403, 401)),
            ("GET", "/metrics", (200, 403, 403, 401)),
            ("GET", "/openapi.json", (200, 403, 403, 401)),
            ("POST", "/v1/log/flush", (200, 403, 403, 401)),
            ("POST", "/v2/repository/models/eta/unload", (400, 403, 403, 401)),
            ("GET", "/v2/health/live", (200, 200, 200, 200)),
        ]
        for method, path, wanted in asked:
            found = tuple(status(method, path, token) for token in ("operator", "r", "s", "wrong"))
            assert found == wanted, path


@pytest.mark.parametrize(
    "path",
    ["/v2/models/fare/", "/v2//models/eta", "/V1/eta", "/v1/eta/other", "/v1", "/", "", "*"],
)
def test_a_path_that_is_not_surely_of_a_model_is_the_operators(path: str) -> None:
    with pytest.raises(Forbidden, match=r"Tenant shop may not ask for .*Its models are eta\."):
        Caller("shop", frozenset({"eta"})).need_path(path)
    Caller("operator").need_path(path)


def test_a_guard_without_tokens_lets_everybody_in() -> None:
    assert not Guard()
    assert Guard("token")
    with pytest.raises(Unauthorized):
        Guard("token").caller("Basic token")
    with pytest.raises(Unauthorized):
        Guard("token").caller("")
    assert Guard("token").caller("bearer  token ").models is None


def test_tenants_need_an_operator(tmp_path: Path) -> None:
    file = write(tmp_path / "tenants.toml", ("shop", "s", ["eta"]))
    with pytest.raises(InvalidInput, match=f"Set {TOKEN_VARIABLE}"):
        open_guard("", file)
    assert open_guard("operator", file).caller("Bearer s") == Caller("shop", frozenset({"eta"}))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[", "is wrong"),
        ("[shop]\nmodels = []", "missing required field `token_sha256`"),
        ('[shop]\ntoken_sha256 = "plain"\nmodels = []', "matching regex"),
        (f'[shop]\ntoken_sha256 = "{"0" * 64}"\nmodels = "eta"', "Expected `array`"),
        (f'[shop]\ntoken_sha256 = "{"0" * 64}"\nmodels = []\ntoken = "plain"', "unknown field `token`"),
        ("".join(f'[{n}]\ntoken_sha256 = "{"0" * 64}"\nmodels = []\n' for n in "ab"), "token to another one"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "tenants.toml").write_text(content)
    with pytest.raises(InvalidData, match=reason):
        read_tenants(tmp_path / "tenants.toml")


def test_a_missing_file_and_a_wrong_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_tenants(tmp_path / "tenants.toml")
    with pytest.raises(InvalidInput):
        read_tenants(write(tmp_path / "tenants.toml", ("shop", "s", ["../eta"])))
