import dataclasses

import numpy as np
import onnx
import pytest
import torch

from bottega.training.deepeta import DeepEta, LinearAttention
from bottega.training.fitted import Rows
from bottega.training.network import asymmetric_huber, export_network, fit_network, quantile_edges, train_network
from bottega.training.reference import model_function
from bottega.training.settings import NetworkSettings

INPUTS = ("pu", "do", "hour", "km")
SETTINGS = NetworkSettings(("pu", "do"), "hour", 24, width=4, buckets=8, hash_size=16, hidden=8, epochs=3, batch=128)


def some_rows(rows, seed):
    rng = np.random.default_rng(seed)
    features = np.stack([*rng.integers(1, 9, (2, rows)), rng.integers(0, 24, rows), rng.uniform(0, 9, rows)], 1)
    features = features.astype(np.float32)
    features[::9, 3] = np.nan
    base = rng.normal(2, 0.2, rows)
    effect = 0.3 * (features[:, 0] > 4) + 0.2 * (features[:, 2] > 12)
    return Rows(features, base, np.exp(base + effect + rng.normal(0, 0.1, rows)))


@pytest.fixture(scope="module")
def fitted():
    return fit_network(some_rows(3000, 0), some_rows(1000, 1), INPUTS, SETTINGS, seed=1, threads=1)


def test_it_learns_the_residual(fitted):
    tune = some_rows(1000, 1)
    errors = fitted.curves["tune_mae"]
    assert len(errors) == len(fitted.curves["train_loss"]) == SETTINGS.epochs
    assert errors[-1] < 0.7 * tune.mean_abs_error(np.zeros(len(tune.label)))
    found = model_function("network", fitted.model)(tune.features)
    assert found.shape == (1000, 1)
    assert tune.mean_abs_error(found[:, 0]) == pytest.approx(errors[-1], rel=1e-5)


def test_the_same_seed_gives_the_same_network():
    state = torch.random.get_rng_state()
    options = {"epochs": 1, "threads": 1}
    (one, curves), (same, again), (other, _) = (
        train_network(some_rows(1000, 0), some_rows(500, 1), INPUTS, SETTINGS, seed=seed, **options)
        for seed in (1, 1, 2)
    )
    assert again == curves
    assert torch.equal(one.hidden.weight, same.hidden.weight)
    assert not torch.equal(one.hidden.weight, other.hidden.weight)
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_exported_graph_equals_torch_for_any_batch_and_any_id():
    torch.manual_seed(0)
    features = some_rows(64, 3).features
    network = DeepEta(INPUTS, SETTINGS, quantile_edges(features, INPUTS, SETTINGS))
    torch.nn.init.normal_(network.decoder.weight)
    torch.nn.init.normal_(network.calibration.weight)
    run = model_function("network", export_network(network, len(INPUTS)))
    features[:6, 0] = [-5, 1e30, np.nan, np.inf, -np.inf, 2.0**24]
    features[6:9, 2] = [-1, 99, np.nan]
    for batch in (1, 2, 64):
        with torch.no_grad():
            expected = network(torch.from_numpy(features[:batch])).numpy()
        np.testing.assert_allclose(run(features[:batch]), expected, rtol=1e-5, atol=1e-6)
        assert np.isfinite(expected).all()


def test_the_graph_is_plain_and_takes_one_matrix(fitted):
    model = onnx.load_from_string(fitted.model)
    assert [value.name for value in model.graph.input] == ["features"]
    assert [value.name for value in model.graph.output] == ["residual"]
    assert not {node.op_type for node in model.graph.node} & {"Loop", "If", "Scan", "NonZero", "ScatterND"}


def test_buckets_are_quantiles_and_a_missing_value_has_its_own():
    features = some_rows(5000, 4).features
    edges = quantile_edges(features, INPUTS, SETTINGS)
    assert edges.shape == (2, SETTINGS.buckets - 1)
    km = features[:, 3]
    counts = np.bincount(np.searchsorted(edges[1], km[~np.isnan(km)], side="right"), minlength=SETTINGS.buckets)
    assert counts.min() > 0.9 * counts.mean()
    network = DeepEta(INPUTS, SETTINGS, edges)
    missing, known = network._buckets(torch.tensor([[1, 1, 3, np.nan], [1, 1, 3, 5.0]]))
    assert torch.equal(missing[0], known[0])
    assert torch.equal(missing[1], network.bucket.weight[SETTINGS.buckets + 1 + SETTINGS.buckets])


def test_linear_attention_equals_the_quadratic_formula():
    torch.manual_seed(0)
    attention, tokens = LinearAttention(4), torch.randn(3, 5, 4)
    normal = attention.norm(tokens)
    query, key = (torch.nn.functional.elu(layer(normal)) + 1 for layer in (attention.query, attention.key))
    weights = query @ key.transpose(1, 2)  # (batch, tokens, tokens)
    expected = tokens + weights / weights.sum(2, keepdim=True) @ attention.value(normal)
    torch.testing.assert_close(attention(tokens), expected)


def test_the_loss_charges_more_for_answers_that_are_too_low():
    settings = dataclasses.replace(SETTINGS, asymmetry=2.0, huber_width=0.1)
    low, high = asymmetric_huber(torch.tensor([0.0, 0.0]), torch.tensor([0.5, -0.5]), settings)
    assert low == pytest.approx(2 * high)
    assert high == pytest.approx(0.1 * (0.5 - 0.05))
