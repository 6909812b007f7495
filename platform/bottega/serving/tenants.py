"""Tenants: whose token may ask which models.

A TOML file holds the SHA-256 of each tenant's token, never the token:

    [dispatch]
    token_sha256 = "<64 hex digits>"
    models = ["eta", "eta-raw"]

The server's own token (BOTTEGA_TOKEN) is the operator's, who may do everything. A tenant may ask about and of its
models; status, metrics and the repository are the operator's.
"""

import hashlib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec

from bottega.errors import InvalidData, InvalidInput, NotFound
from bottega.serving.protocol import check_name
from bottega.serving.web import Unauthorized

_Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Forbidden(InvalidInput):
    """The token is valid, and not for this."""

    http_status = 403


class Tenant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the tenants' file."""

    token_sha256: _Sha256
    models: frozenset[str]


class Caller(msgspec.Struct, frozen=True):
    """Whose token a request carries; `models` None: the operator's."""

    name: str
    models: frozenset[str] | None = None

    def need(self, model: str | None) -> None:
        """Raise Forbidden unless the caller may ask this model, or for None the whole server."""
        if self.models is None or model in self.models:
            return
        what = "this, which is of the whole server" if model is None else f"model {model[:128]!r}"
        raise Forbidden(
            f"Tenant {self.name} may not ask for {what}.", next_step=f"Its models are {', '.join(sorted(self.models))}."
        )

    def need_path(self, path: str) -> None:
        """Raise Forbidden unless the caller may ask this HTTP path."""
        match path.removesuffix("/").split("/")[1:]:
            case ["v2"]:
                return
            case ["v2", "models", model, *_] if model != "stats":
                self.need(model)
            case ["v1", usecase] if usecase != "status":
                self.need(usecase)
            case ["v1", usecase, ("predict" | "search")]:
                self.need(usecase)
            case _:
                self.need(None)


class Guard:
    """Who may ask: the operator with `token`, and the tenants. False where neither is named: then anybody may."""

    def __init__(self, token: str = "", tenants: Iterable[tuple[str, Tenant]] = ()) -> None:
        self._callers = {tenant.token_sha256: Caller(name, tenant.models) for name, tenant in tenants}
        if token:
            self._callers[_digest(token)] = Caller("operator")

    def __bool__(self) -> bool:
        return bool(self._callers)

    def caller(self, authorization: str) -> Caller:
        """Whose token an authorization header carries. Raises Unauthorized.

        Tokens are found by their digests, so that the time that it takes says nothing of a token.
        """
        scheme, _, token = authorization.partition(" ")
        caller = self._callers.get(_digest(token.strip())) if scheme.lower() == "bearer" else None
        if caller is None:
            raise Unauthorized("The request carries no valid token.", next_step="Send 'Authorization: Bearer <token>'.")
        return caller


def read_tenants(path: Path) -> dict[str, Tenant]:
    """The tenants of a file by name. Raises NotFound, or InvalidData with the place and the rule."""
    try:
        tenants = msgspec.convert(tomllib.loads(path.read_text("utf-8")), dict[str, Tenant])
    except FileNotFoundError:
        raise NotFound(f"There is no tenants' file {path}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise InvalidData(
            f"The tenants' file {path} is wrong: {error}.",
            next_step='Each table needs token_sha256 = "<64 hex digits>" and models = ["<name>"].',
        ) from None
    digests = [tenant.token_sha256 for tenant in tenants.values()]
    for name, tenant in tenants.items():
        if digests.count(tenant.token_sha256) > 1:
            raise InvalidData(f"The tenants' file {path} gives {name}'s token to another one, too.")
        for model in tenant.models:
            check_name(model)
    return tenants


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("latin-1", "replace")).hexdigest()
