"""Routing: which requests a canary answers.

Each request has a key, and the key's place on a circle of 2^64 decides: a canary has the places below its share. The
same key always meets the same version, and a larger share keeps who was there before.
"""

from collections.abc import Sequence
from hashlib import blake2b

from bottega.features.plan import FeaturePlan
from bottega.features.steps import Columns, External, Online

_CIRCLE = 1 << 64


def key_fields(plan: FeaturePlan) -> tuple[str, ...]:
    """The request fields that name the entities whose features the plan looks up, in the request's order."""
    keys = {key for step in plan.steps if isinstance(step, Online | External) for key in step.keys}
    return tuple(field.name for field in plan.request if field.name in keys)


def request_key(fields: Sequence[str], columns: Columns, ids: Sequence[str]) -> bytes:
    """The key of a request: its entities, or its first id where the plan has none."""
    if not fields:
        return ids[0].encode()
    return b"\0".join(_bytes(columns[name].tolist()) for name in fields)


def place(key: bytes, salt: str) -> float:
    """Where a key lies on the circle, from 0 up to but not 1; another `salt` shuffles all keys anew."""
    digest = blake2b(key, digest_size=8, key=salt.encode()[:64]).digest()
    return int.from_bytes(digest) / _CIRCLE


def _bytes(values: list) -> bytes:
    return b",".join(value if isinstance(value, bytes) else str(value).encode() for value in values)
