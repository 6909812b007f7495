"""JAX: the reference networks written again with its numpy, compiled by XLA for a static batch."""

from collections.abc import Callable, Mapping

import jax
import numpy as np
from jax import numpy as jnp

from peers.inference.case import Case, Inputs, Run

Array = jax.Array
Weights = Mapping[str, Array]
_EPSILON = 1e-5


def load(case: Case, threads: int) -> Run:
    """The compiled function; its weights lie on the device. Threads: see `process.environment`."""
    forward = jax.jit(_FORWARD[case.model])
    weights = {name: jnp.asarray(tensor.numpy()) for name, tensor in case.network.module.state_dict().items()}

    def run(inputs: Inputs) -> list:
        return [np.asarray(answer) for answer in forward(weights, *inputs.values())]

    return run


def _deepeta(weights: Weights, ids: Array, numbers: Array) -> tuple[Array, ...]:
    places = weights["table.weight"][ids + weights["offset"]]
    values = numbers[:, :, None] * weights["scale"] + weights["shift"]
    tokens = jnp.concatenate([places, values], axis=1)  # (batch, 17, width)
    for name in ("blocks.0", "blocks.1"):
        tokens = tokens + _attend(weights, name, _normal(weights, f"{name}.before_attention", tokens))
        wide = _linear(weights, f"{name}.wide", _normal(weights, f"{name}.before_forward", tokens))
        tokens = tokens + _linear(weights, f"{name}.narrow", jax.nn.gelu(wide, approximate=False))
    hidden = jax.nn.relu(_linear(weights, "hidden", tokens.reshape(len(tokens), -1)))
    return (_linear(weights, "decoder", hidden),)


def _attend(weights: Weights, name: str, normal: Array) -> Array:
    query = jax.nn.elu(_linear(weights, f"{name}.query", normal)) + 1
    key = jax.nn.elu(_linear(weights, f"{name}.key", normal)) + 1
    mixed = query @ (key.swapaxes(1, 2) @ _linear(weights, f"{name}.value", normal))
    return _linear(weights, f"{name}.out", mixed / (query @ key.sum(1)[:, :, None]))


def _two_tower(weights: Weights, user: Array, context: Array) -> tuple[Array, ...]:
    joined = jnp.concatenate([weights["user.weight"][user], context], axis=1)
    vector = _linear(weights, "tower.2", jax.nn.relu(_linear(weights, "tower.0", joined)))
    vector = vector / jnp.maximum(jnp.linalg.norm(vector, axis=1, keepdims=True), 1e-12)
    return tuple(jax.lax.top_k(vector @ weights["items"].T, 100))


def _cnn(weights: Weights, image: Array) -> tuple[Array, ...]:
    pixels = image.transpose(0, 2, 3, 1)  # (batch, height, width, channels): what XLA is fast with
    for i in range(4):
        kernel = weights[f"blocks.{i}.0.weight"].transpose(2, 3, 1, 0)
        pixels = jax.lax.conv_general_dilated(
            pixels, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        norm = {part: weights[f"blocks.{i}.1.{part}"] for part in ("running_mean", "running_var", "weight", "bias")}
        scale = norm["weight"] / jnp.sqrt(norm["running_var"] + _EPSILON)
        pixels = jax.nn.relu((pixels - norm["running_mean"]) * scale + norm["bias"])
        pixels = jax.lax.reduce_window(pixels, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return (_linear(weights, "classes", pixels.mean((1, 2))),)


def _linear(weights: Weights, name: str, values: Array) -> Array:
    return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _normal(weights: Weights, name: str, tokens: Array) -> Array:
    centred = tokens - tokens.mean(-1, keepdims=True)
    spread = jnp.sqrt((centred**2).mean(-1, keepdims=True) + _EPSILON)
    return centred / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"]


_FORWARD: Mapping[str, Callable[..., tuple[Array, ...]]] = {"deepeta": _deepeta, "two_tower": _two_tower, "cnn": _cnn}
