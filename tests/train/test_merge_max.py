"""The loss of partial labels against loops that are too slow to be wrong."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from flare_infer.labels import KNOWN_BACKGROUND
from train.loss.deep_supervision import deep_supervision_loss, supervision_weights
from train.loss.dice_ce import SMOOTH, dice_ce
from train.loss.merge_max import merge_max
from train.loss.partial import partial_loss

CLASSES = 15
ALL = tuple(range(1, CLASSES))
SHAPE = (3, 4, 5)


def random_sample(seed: int, annotated: tuple[int, ...], known: bool = True) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    values = [0, *annotated, *([KNOWN_BACKGROUND] if known else [])]
    logits = torch.from_numpy(rng.normal(0, 3, (CLASSES, *SHAPE)))
    return logits, torch.from_numpy(rng.choice(values, SHAPE).astype(np.uint8))


def loop_loss(
    logits: Tensor, labels: Tensor, annotated: tuple[int, ...], weights: tuple[float, ...] = (1.0,) * CLASSES
) -> float:
    """Voxel by voxel, class by class, with Python's own numbers."""
    channels = sorted(annotated)
    cross_entropy, voxels = 0.0, 0.0
    overlap, size = dict.fromkeys(channels, 0.0), dict.fromkeys(channels, 0.0)
    for z, y, x in np.ndindex(*labels.shape):
        code = int(labels[z, y, x])
        here = [float(value) for value in logits[:, z, y, x]]
        unlabeled = [here[other] for other in range(1, CLASSES) if other not in annotated]
        if code == KNOWN_BACKGROUND:
            merged, competitors = here[0], [max(unlabeled)] if unlabeled else []
        else:
            merged, competitors = max([here[0], *unlabeled]), []
        exponentials = {0: math.exp(merged)} | {channel: math.exp(here[channel]) for channel in channels}
        total = sum(exponentials.values()) + sum(math.exp(value) for value in competitors)
        truth = code if code in annotated else 0
        cross_entropy -= weights[truth] * math.log(exponentials[truth] / total)
        voxels += weights[truth]
        for channel in channels:
            probability = exponentials[channel] / total
            overlap[channel] += probability * (truth == channel)
            size[channel] += probability + (truth == channel)
    dice = [(2 * overlap[channel] + SMOOTH) / (size[channel] + SMOOTH) for channel in channels]
    return cross_entropy / voxels + 1 - sum(dice) / len(dice)


@pytest.mark.parametrize("annotated", [(1,), (1, 14), (2, 3, 5, 9, 13), (1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13), ALL])
@pytest.mark.parametrize("seed", range(3))
def test_the_loss_equals_a_loop(annotated: tuple[int, ...], seed: int) -> None:
    logits, labels = random_sample(seed, annotated)
    merged, target = merge_max(logits, labels, annotated)
    loss = dice_ce(merged, target, foreground=len(annotated))
    assert loss.item() == pytest.approx(loop_loss(logits, labels, annotated), rel=1e-5)


def test_a_batch_of_mixed_annotations_is_the_mean_of_its_samples() -> None:
    sets = [(1, 14), (2, 3), ALL]
    samples = [random_sample(seed, codes) for seed, codes in enumerate(sets)]
    logits, labels = (torch.stack(parts) for parts in zip(*samples, strict=True))
    loops = [loop_loss(*sample, codes) for sample, codes in zip(samples, sets, strict=True)]
    assert partial_loss(logits, labels, sets).item() == pytest.approx(sum(loops) / 3, rel=1e-5)


def test_weighted_cross_entropy_equals_a_loop() -> None:
    weights = tuple(1.0 + code / 3 for code in range(CLASSES))
    for annotated in ((1, 14), (2, 3, 5, 9, 13), ALL):
        logits, labels = random_sample(5, annotated)
        loss = partial_loss(logits[None], labels[None], [annotated], weights)
        assert loss.item() == pytest.approx(loop_loss(logits, labels, annotated, weights), rel=1e-5)


def plain_dice_ce(logits: Tensor, labels: Tensor) -> Tensor:
    """Dice and cross-entropy as every text book has them."""
    target = torch.where(labels == KNOWN_BACKGROUND, 0, labels.long())
    probabilities = logits.softmax(dim=0)
    truth = functional.one_hot(target, CLASSES).permute(3, 0, 1, 2)
    overlap = (probabilities * truth).flatten(1).sum(1)[1:]
    size = (probabilities + truth).flatten(1).sum(1)[1:]
    dice = ((2 * overlap + SMOOTH) / (size + SMOOTH)).mean()
    return functional.cross_entropy(logits[None], target[None]) + 1 - dice


def test_with_all_classes_annotated_it_is_plain_dice_and_cross_entropy() -> None:
    logits, labels = random_sample(7, ALL)
    loss = partial_loss(logits[None], labels[None], [ALL])
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
    known = labels == KNOWN_BACKGROUND
    # Elsewhere background wins the maximum; at known background the hardest class always competes.
    assert torch.equal(felt, in_the_max | known)
    assert torch.equal(gradient[0] != 0, ~in_the_max | known)


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
