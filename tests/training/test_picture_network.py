"""The picture network: its size, learning, repeatability, and the committee that goes into the artefact."""

import numpy as np
import onnx
import pytest
import torch

from bottega.training.augmentation import augment
from bottega.training.calibration import Calibration
from bottega.training.picture_network import Committee, PictureNetwork
from bottega.training.picture_settings import PictureSettings
from bottega.training.picture_training import label_loss, predict, train_members
from bottega.training.reference import onnx_session

SMALL = PictureSettings(members=2, channels=(4, 8, 8), side=32, epochs=6, batch=16)


def squares(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures with a bright square in the middle or none, and a second label that is known of half of them."""
    chance = np.random.default_rng(seed)
    pictures = chance.uniform(0, 0.5, (rows, 3, 32, 32)).astype(np.float32)
    label = (chance.random(rows) < 0.5).astype(np.float32)
    pictures[label == 1, :, 10:22, 10:22] += 0.5
    second = np.where(np.arange(rows) % 4 < 2, label, np.nan).astype(np.float32)
    return pictures, np.stack([label, second], 1)


def committee(seed: int = 0) -> tuple[list[PictureNetwork], Committee]:
    torch.manual_seed(seed)
    networks = [PictureNetwork(SMALL, 2) for _ in range(3)]
    for network in networks:
        torch.nn.init.normal_(network.head.weight, std=0.3)
        for _ in range(3):
            network.train()(torch.rand(16, 3, 32, 32))  # so that the normalisations have learned something
        network.eval()
    return networks, Committee(networks, [Calibration(1.3, 0.1), Calibration(0.8, -0.2)], 32)


def test_the_network_has_the_size_it_should() -> None:
    assert 250_000 < sum(part.numel() for part in PictureNetwork(PictureSettings(), 2).parameters()) < 350_000


def test_the_committee_is_the_calibrated_mean_of_its_networks() -> None:
    networks, joint = committee()
    pixels = torch.rand(5, 3 * 32 * 32)
    with torch.no_grad():
        logits = torch.stack([network(pixels.reshape(-1, 3, 32, 32)) for network in networks]).mean(0)
        expected = torch.sigmoid(logits * torch.tensor([1.3, 0.8]) + torch.tensor([0.1, -0.2]))
        assert expected.std() > 0.01
        torch.testing.assert_close(joint(pixels), expected, rtol=1e-4, atol=1e-5)


def test_onnx_answers_as_torch_for_any_batch_without_normalisations() -> None:
    _, joint = committee(1)
    content = joint.to_onnx()
    kinds = {node.op_type for node in onnx.load_from_string(content).graph.node}
    assert "Conv" in kinds and "BatchNormalization" not in kinds
    session = onnx_session(content)
    for rows in (1, 7):
        pixels = np.random.default_rng(rows).random((rows, 3 * 32 * 32), np.float32)
        (found,) = session.run(None, {"features": pixels})
        with torch.no_grad():
            np.testing.assert_allclose(found, joint(torch.from_numpy(pixels)).numpy(), rtol=1e-4, atol=1e-6)


def test_it_learns_each_head_from_the_pictures_whose_label_is_known_and_judges_those_left_out() -> None:
    pictures, labels = squares(240, 1)
    fold = np.arange(240) % 2
    found = train_members(pictures, labels, fold, SMALL, seed=1, threads=1)
    for head in (0, 1):
        known = ~np.isnan(labels[:, head])
        assert ((found.logits[known, head] > 0) == (labels[known, head] == 1)).mean() > 0.9
    assert len(found.networks) == 2 and all(len(curve) == SMALL.epochs for curve in found.curves.values())
    left_out = predict(found.networks[1], torch.from_numpy(pictures[fold == 1]))
    np.testing.assert_allclose(found.logits[fold == 1], left_out, rtol=1e-5, atol=1e-6)


def test_the_same_seed_gives_the_same_networks_and_leaves_the_global_state_alone() -> None:
    pictures, labels = squares(64, 2)
    settings = PictureSettings(members=2, channels=(4, 8), side=32, epochs=1, batch=16)
    state = torch.get_rng_state()
    first, again, other = (
        train_members(pictures, labels, np.arange(64) % 2, settings, seed=seed, threads=1) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.logits, again.logits)
    assert not np.array_equal(first.logits, other.logits)
    assert torch.equal(state, torch.get_rng_state())


def test_augmented_pictures_are_pictures_and_repeat_with_the_seed() -> None:
    pictures = torch.rand(32, 3, 32, 32)
    first, again, other = (augment(pictures, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first.shape == pictures.shape and first.min() >= 0 and first.max() <= 1
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert (first - pictures).abs().mean() > 0.05


def test_unknown_labels_cost_nothing() -> None:
    logits = torch.tensor([[2.0, 5.0], [-1.0, -7.0]])
    labels = torch.tensor([[1.0, float("nan")], [0.0, float("nan")]])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], torch.tensor([0.9, 0.1]))
    assert float(label_loss(logits, labels, 0.2)) == pytest.approx(float(expected))
