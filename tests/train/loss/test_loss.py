"""The loss of partial labels against plain loops over voxels."""

import itertools
import math
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from flare_infer.labels import IGNORED, KNOWN_BACKGROUND
from train.loss.deep_supervision import deep_supervision_loss, supervision_weights
from train.loss.dice_ce import SMOOTH
from train.loss.partial import PartialLoss, partial_loss

CLASSES = 15
ALL = tuple(range(1, CLASSES))
SHAPE = (3, 4, 5)
WAYS = get_args(PartialLoss)


def random_sample(seed: int, annotated: tuple[int, ...], known: bool = True) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    values = [0, *annotated, IGNORED, *([KNOWN_BACKGROUND] if known else [])]
    logits = torch.from_numpy(rng.normal(0, 3, (CLASSES, *SHAPE)))
    return logits, torch.from_numpy(rng.choice(values, SHAPE).astype(np.uint8))


def chances(here: list[float], known: bool, annotated: tuple[int, ...], way: PartialLoss) -> dict[int, float]:
    """Probability of background or what is merged with it, and of each class that is judged, at one voxel."""
    plain = {code: math.exp(value) for code, value in enumerate(here)}
    if way != "merge_max":
        total = sum(plain.values())
        judged = ALL if way == "background" else annotated
        merged = [0] if known or way == "background" else [code for code in plain if code not in annotated]
        return {0: sum(plain[code] for code in merged) / total} | {code: plain[code] / total for code in judged}
    unlabeled = [here[other] for other in ALL if other not in annotated]
    if known:
        merged, competitors = here[0], [max(unlabeled)] if unlabeled else []
    else:
        merged, competitors = max([here[0], *unlabeled]), []
    exponentials = {0: math.exp(merged)} | {channel: plain[channel] for channel in annotated}
    total = sum(exponentials.values()) + sum(math.exp(value) for value in competitors)
    return {channel: value / total for channel, value in exponentials.items()}


def loop_loss(
    logits: Tensor,
    labels: Tensor,
    annotated: tuple[int, ...],
    weights: tuple[float, ...] = (1.0,) * CLASSES,
    way: PartialLoss = "merge_max",
) -> float:
    """Voxel by voxel, class by class, with Python's own numbers."""
    judged = ALL if way == "background" else sorted(annotated)
    cross_entropy, voxels = 0.0, 0.0
    overlap, size = dict.fromkeys(judged, 0.0), dict.fromkeys(judged, 0.0)
    for z, y, x in np.ndindex(*labels.shape):
        code = int(labels[z, y, x])
        if code == IGNORED:
            continue
        here = [float(value) for value in logits[:, z, y, x]]
        probabilities = chances(here, code == KNOWN_BACKGROUND, annotated, way)
        truth = code if code in annotated else 0
        cross_entropy -= weights[truth] * math.log(probabilities[truth])
        voxels += weights[truth]
        for channel in judged:
            overlap[channel] += probabilities[channel] * (truth == channel)
            size[channel] += probabilities[channel] + (truth == channel)
    dice = [(2 * overlap[channel] + SMOOTH) / (size[channel] + SMOOTH) for channel in judged]
    return cross_entropy / voxels + 1 - sum(dice) / len(dice)


@pytest.mark.parametrize("annotated", [(1,), (1, 14), (2, 3, 5, 9, 13), (1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13), ALL])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", range(3))
def test_the_loss_equals_a_loop(annotated: tuple[int, ...], seed: int, way: PartialLoss) -> None:
    logits, labels = random_sample(seed, annotated)
    loss = partial_loss(logits[None], labels[None], [annotated], method=way)
    assert loss.item() == pytest.approx(loop_loss(logits, labels, annotated, way=way), rel=1e-5)


def test_a_batch_of_mixed_annotations_is_the_mean_of_its_samples() -> None:
    sets = [(1, 14), (2, 3), ALL]
    samples = [random_sample(seed, codes) for seed, codes in enumerate(sets)]
    logits, labels = (torch.stack(parts) for parts in zip(*samples, strict=True))
    loops = [loop_loss(*sample, codes) for sample, codes in zip(samples, sets, strict=True)]
    assert partial_loss(logits, labels, sets).item() == pytest.approx(sum(loops) / 3, rel=1e-5)


def test_weighted_cross_entropy_equals_a_loop() -> None:
    weights = tuple(1.0 + code / 3 for code in range(CLASSES))
    for annotated, way in itertools.product([(1, 14), (2, 3, 5, 9, 13), ALL], WAYS):
        logits, labels = random_sample(5, annotated)
        loss = partial_loss(logits[None], labels[None], [annotated], weights, way)
        assert loss.item() == pytest.approx(loop_loss(logits, labels, annotated, weights, way), rel=1e-5)


def plain_dice_ce(logits: Tensor, labels: Tensor) -> Tensor:
    """Dice and cross-entropy as every text book has them."""
    target = torch.where(labels == KNOWN_BACKGROUND, 0, labels.long())
    probabilities = logits.softmax(dim=0)
    truth = functional.one_hot(target, CLASSES).permute(3, 0, 1, 2)
    overlap = (probabilities * truth).flatten(1).sum(1)[1:]
    size = (probabilities + truth).flatten(1).sum(1)[1:]
    dice = ((2 * overlap + SMOOTH) / (size + SMOOTH)).mean()
    return functional.cross_entropy(logits[None], target[None]) + 1 - dice


@pytest.mark.parametrize("way", WAYS)
def test_with_all_classes_annotated_it_is_plain_dice_and_cross_entropy(way: PartialLoss) -> None:
    logits, labels = random_sample(7, ALL)
    labels[labels == IGNORED] = 0
    loss = partial_loss(logits[None], labels[None], [ALL], method=way)
    assert loss.item() == pytest.approx(plain_dice_ce(logits, labels).item(), rel=1e-5)


def test_only_the_hardest_unlabeled_class_feels_a_gradient() -> None:
    annotated = (1, 14)
    logits, labels = random_sample(11, annotated)
    logits.requires_grad_()
    partial_loss(logits[None], labels[None], [annotated]).backward()
    gradient = logits.grad
    assert gradient is not None
    unlabeled = [code for code in ALL if code not in annotated]
    hardest = torch.tensor(unlabeled)[logits[unlabeled].argmax(dim=0)]
    for code in unlabeled:
        others = hardest != code
        assert (gradient[code][others] == 0).all()
    in_the_max = logits.detach()[unlabeled].amax(dim=0) > logits.detach()[0]
    felt = gradient.gather(0, hardest[None])[0] != 0
    known, counted = labels == KNOWN_BACKGROUND, labels != IGNORED
    # Elsewhere background wins the maximum; at known background the hardest class always competes.
    assert torch.equal(felt, (in_the_max | known) & counted)
    assert torch.equal(gradient[0] != 0, (~in_the_max | known) & counted)


def test_known_air_pushes_the_hardest_unlabeled_class_down_and_background_up() -> None:
    logits = torch.zeros(CLASSES, 1, 1, 1)
    logits[7] = 4.0  # an adrenal gland that nobody annotated wins the air
    logits.requires_grad_()
    labels = torch.full((1, 1, 1), KNOWN_BACKGROUND, dtype=torch.uint8)
    partial_loss(logits[None], labels[None], [(1, 2)]).backward()
    assert logits.grad is not None
    assert logits.grad[7].item() > 0.5
    assert logits.grad[0].item() < -0.5


def test_elsewhere_an_unannotated_organ_costs_nothing() -> None:
    labels = torch.zeros(1, 2, 2, 2, dtype=torch.uint8)
    quiet, adrenal = torch.zeros(1, CLASSES, 2, 2, 2), torch.zeros(1, CLASSES, 2, 2, 2)
    quiet[:, 0] = adrenal[:, 7] = 9.0
    assert partial_loss(quiet, labels, [(1, 2)]) == partial_loss(adrenal, labels, [(1, 2)])


def test_loss_is_finite_in_half_precision_and_computed_in_float32() -> None:
    logits, labels = random_sample(3, (1, 14))
    loss = partial_loss((logits * 1000).bfloat16()[None], labels[None], [(1, 14)])
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)


@pytest.mark.parametrize("way", WAYS)
def test_an_ignored_voxel_feels_nothing(way: PartialLoss) -> None:
    logits, labels = random_sample(13, (1, 2, 14))
    logits.requires_grad_()
    partial_loss(logits[None], labels[None], [(1, 2, 14)], tuple(1.0 + code for code in range(CLASSES)), way).backward()
    assert logits.grad is not None
    ignored = labels == IGNORED
    assert ignored.any()
    assert (logits.grad[:, ignored] == 0).all()
    assert (logits.grad[:, ~ignored] != 0).any(dim=0).all()


@pytest.mark.parametrize("way", WAYS)
def test_a_sample_that_is_ignored_everywhere_costs_the_same_whatever_is_predicted(way: PartialLoss) -> None:
    labels = torch.full((1, *SHAPE), IGNORED, dtype=torch.uint8)
    logits = torch.randn(1, CLASSES, *SHAPE, requires_grad=True)
    loss = partial_loss(logits, labels, [(1, 2)], method=way)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def one_voxel(probabilities: dict[int, float], label: int, annotated: tuple[int, ...], way: PartialLoss) -> float:
    """The loss of one voxel whose classes have these probabilities; all others have next to none."""
    logits = torch.full((1, CLASSES, 1, 1, 1), -60.0, dtype=torch.float64)
    for code, probability in probabilities.items():
        logits[0, code] = math.log(probability)
    return partial_loss(logits, torch.full((1, 1, 1, 1), label, dtype=torch.uint8), [annotated], method=way).item()


def test_marginal_by_hand() -> None:
    chance = {0: 0.2, 1: 0.5, 4: 0.1, 5: 0.2}
    # Liver alone is annotated: background, pancreas and aorta together have 0.2 + 0.1 + 0.2.
    assert one_voxel(chance, 0, (1,), "marginal") == pytest.approx(-math.log(0.5) + 1, abs=1e-4)
    assert one_voxel(chance, 1, (1,), "marginal") == pytest.approx(-math.log(0.5) + 1 - 2 * 0.5 / 1.5, abs=1e-4)
    # Known background is background and nothing else.
    assert one_voxel(chance, KNOWN_BACKGROUND, (1,), "marginal") == pytest.approx(-math.log(0.2) + 1, abs=1e-4)


def test_merge_max_by_hand() -> None:
    chance = {0: 0.2, 1: 0.5, 4: 0.1, 5: 0.2}
    # The larger of background, pancreas and aorta stands against liver: 0.2 of 0.2 + 0.5.
    assert one_voxel(chance, 0, (1,), "merge_max") == pytest.approx(-math.log(2 / 7) + 1, abs=1e-4)
    # At known background, background stands beside the hardest unlabeled class: 0.2 of 0.2 + 0.5 + 0.2.
    assert one_voxel(chance, KNOWN_BACKGROUND, (1,), "merge_max") == pytest.approx(-math.log(2 / 9) + 1, abs=1e-4)


def test_background_by_hand() -> None:
    chance = {0: 0.2, 1: 0.5, 4: 0.1, 5: 0.2}
    # Liver, pancreas and aorta are predicted and not there, which costs their Dice; the other 11 are neither.
    absent = 3 / 14
    for label in (0, KNOWN_BACKGROUND):
        assert one_voxel(chance, label, (1,), "background") == pytest.approx(-math.log(0.2) + absent, abs=1e-3)


def test_supervision_weights_are_halved_and_sum_to_one() -> None:
    assert supervision_weights(3) == pytest.approx([4 / 7, 2 / 7, 1 / 7])


def test_deep_supervision_by_hand() -> None:
    annotated = [(1, 2)]
    rng = torch.Generator().manual_seed(4)
    labels = torch.randint(0, 3, (1, 4, 4, 4), generator=rng, dtype=torch.uint8)
    full, half = torch.randn(1, 15, 4, 4, 4, generator=rng), torch.randn(1, 15, 2, 2, 2, generator=rng)
    # the nearest voxel to the center of a 2 x 2 x 2 block, ties to the upper one
    expected = 2 / 3 * partial_loss(full, labels, annotated) + 1 / 3 * partial_loss(
        half, labels[:, 1::2, 1::2, 1::2], annotated
    )
    torch.testing.assert_close(deep_supervision_loss([full, half], labels, annotated), expected)
