"""Context-aware CutMix: where pastes go, and what they say to a host that annotates other classes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flare_infer.geometry import Box, Shape
from flare_infer.labels import IGNORED, KNOWN_BACKGROUND, TUMOR
from train.augment.cut import cut_patch
from train.augment.cutmix import ATTEMPTS, Paste, apply_paste, draw_paste, labels_for_host, paste_at
from train.augment.patch import Patch
from train.augment.spatial import SpatialParameters
from train.dataset.region import abdominal_region
from train.loss.partial import PartialLoss, partial_loss
from train.sampling.sampler import PatchCenter
from train.store.store import PreparedCase
from train.store.tumor_objects import TumorObject

CLASSES = 15
ORGANS = tuple(range(1, 14))


def tumor_object(shape: Shape, annotated: tuple[int, ...] = (1, TUMOR), seed: int = 0) -> TumorObject:
    """Noise with a tumor in the middle; its intensities are larger than any host's."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, KNOWN_BACKGROUND], shape).astype(np.uint8)
    labels[tuple(length // 2 for length in shape)] = TUMOR
    image = (1000 + rng.integers(0, 100, shape)).astype(np.float16)
    return TumorObject(name="case_000", case="case", annotated=annotated, image_zyx=image, labels_zyx=labels)


def host(shape: Shape, annotated: tuple[int, ...] = (1, 2), seed: int = 0) -> Patch:
    rng = np.random.default_rng(seed)
    return Patch(
        image_zyx=torch.from_numpy(rng.normal(0, 1, shape).astype(np.float32)),
        labels_zyx=torch.from_numpy(rng.choice([0, *annotated], shape).astype(np.uint8)),
        annotated=annotated,
    )


@st.composite
def situations(draw: st.DrawFn) -> tuple[Shape, Box, Shape, Box, int]:
    """A case, a region in it, the size of an object, a piece of the case, and a seed."""

    def box(inside: Box) -> Box:
        parts = []
        for part in inside:
            start = draw(st.integers(part.start, part.stop - 1))
            parts.append(slice(start, draw(st.integers(start + 1, part.stop))))
        return Box(*parts)

    lengths = st.tuples(*[st.integers(1, 9)] * 3)
    shape = draw(lengths)
    whole = Box.at((0, 0, 0), shape)
    return shape, box(whole), draw(lengths), box(whole), draw(st.integers(0, 2**31))


@settings(max_examples=300, deadline=None)
@given(situations())
def test_a_paste_changes_its_box_and_nothing_else(situation: tuple[Shape, Box, Shape, Box, int]) -> None:
    shape, region, size, cut, seed = situation
    case, item = host(shape), tumor_object(size, annotated=(*ORGANS, TUMOR))
    paste = draw_paste([item], region, region, np.random.default_rng(seed))
    if paste is None:
        return
    whole = apply_paste(case, (0, 0, 0), paste)

    changed = whole.image_zyx >= 1000
    target = Box.at(paste.start, paste.box.shape)
    expected = torch.zeros(shape, dtype=torch.bool)
    expected[target] = True
    assert torch.equal(changed, expected)
    outside_region = torch.ones(shape, dtype=torch.bool)
    outside_region[region] = False
    assert not (changed & outside_region).any()
    assert torch.equal(whole.image_zyx[~changed], case.image_zyx[~changed])
    assert torch.equal(whole.labels_zyx[~changed], case.labels_zyx[~changed])
    np.testing.assert_array_equal(whole.image_zyx[target], item.image_zyx[paste.box])
    assert (whole.labels_zyx == TUMOR).any()
    assert whole.annotated == (1, 2, TUMOR)

    # A piece of the case with the paste is the same piece of the whole case with the paste.
    piece = Patch(image_zyx=case.image_zyx[cut], labels_zyx=case.labels_zyx[cut], annotated=case.annotated)
    before = piece.image_zyx.clone()
    pasted = apply_paste(piece, (cut[0].start, cut[1].start, cut[2].start), paste)
    assert torch.equal(pasted.image_zyx, whole.image_zyx[cut])
    assert torch.equal(pasted.labels_zyx, whole.labels_zyx[cut])
    assert (TUMOR in pasted.annotated) == bool(changed[cut].any())
    assert torch.equal(piece.image_zyx, before), "applying is pure"


def test_the_middle_of_the_box_is_at_the_center() -> None:
    paste = paste_at(tumor_object((3, 4, 5)), (10, 10, 10), Box.at((0, 0, 0), (20, 20, 20)))
    assert paste.start == (9, 8, 8)
    assert paste.box == (slice(0, 3), slice(0, 4), slice(0, 5))


def test_a_box_is_clipped_to_the_region() -> None:
    region = Box(slice(10, 12), slice(0, 20), slice(9, 20))
    paste = paste_at(tumor_object((5, 5, 5)), (10, 10, 9), region)
    assert paste.start == (10, 8, 9)
    assert paste.box == (slice(2, 4), slice(0, 5), slice(2, 5))


def test_centers_cover_what_they_may_and_no_more() -> None:
    centers = Box(slice(3, 5), slice(0, 1), slice(6, 9))
    item = tumor_object((1, 1, 1))
    starts = set()
    for seed in range(200):
        paste = draw_paste([item], Box.at((0, 0, 0), (9, 9, 9)), centers, np.random.default_rng(seed))
        assert paste is not None
        starts.add(paste.start)
    assert starts == {(z, 0, x) for z in (3, 4) for x in (6, 7, 8)}


def test_a_paste_that_loses_its_tumor_is_drawn_again_and_in_the_end_given_up() -> None:
    lost = tumor_object((9, 9, 9))
    corner = np.where(lost.labels_zyx == TUMOR, 0, lost.labels_zyx).astype(np.uint8)
    corner[0, 0, 0] = TUMOR
    hopeless = TumorObject(**(vars(lost) | {"labels_zyx": corner}))
    region = Box.at((0, 0, 0), (3, 3, 3))
    for seed in range(50):
        assert draw_paste([hopeless], region, region, np.random.default_rng(seed)) is None
        paste = draw_paste([hopeless, tumor_object((1, 1, 1))], region, region, np.random.default_rng(seed))
        assert paste is not None, f"one of two objects fits: {ATTEMPTS} draws find it"
        assert paste.item.shape == (1, 1, 1)


def test_what_labels_of_an_object_say_to_a_host() -> None:
    # in the object: nothing, liver, spleen, tumor, known air
    labels = np.asarray([[[0, 1, 3, TUMOR, KNOWN_BACKGROUND]]], dtype=np.uint8)
    # The host annotates aorta as well, which the object does not: its background may be aorta.
    aorta = labels_for_host(labels, known=(1, 3, TUMOR), annotated=(1, 5, TUMOR))
    assert aorta.tolist() == [[[IGNORED, 1, 0, TUMOR, KNOWN_BACKGROUND]]]
    # The host annotates nothing that the object does not: background is background.
    fewer = labels_for_host(labels, known=(1, 3, TUMOR), annotated=(1, TUMOR))
    assert fewer.tolist() == [[[0, 1, 0, TUMOR, KNOWN_BACKGROUND]]]


@pytest.mark.parametrize("way", ["merge_max", "marginal", "background"])
def test_an_organ_that_an_object_does_not_annotate_never_becomes_a_negative(way: PartialLoss) -> None:
    """The object knows liver and tumor only; under its background there is, unlabeled, the host's aorta."""
    labels = np.zeros((4, 4, 4), dtype=np.uint8)
    labels[0] = 1
    labels[1, 1, 1] = TUMOR
    item = TumorObject(
        name="o", case="o", annotated=(1, TUMOR), image_zyx=np.zeros((4, 4, 4), np.float16), labels_zyx=labels
    )
    patch = apply_paste(
        host((6, 6, 6), annotated=ORGANS),
        (0, 0, 0),
        Paste(item=item, box=Box.at((0, 0, 0), (4, 4, 4)), start=(1, 1, 1)),
    )
    assert patch.annotated == (*ORGANS, TUMOR)
    logits = torch.randn(1, CLASSES, 6, 6, 6, requires_grad=True)
    partial_loss(logits, patch.labels_zyx[None], [patch.annotated], method=way).backward()
    assert logits.grad is not None
    inside = logits.grad[0, :, 1:5, 1:5, 1:5]
    background = torch.from_numpy(labels == 0)
    assert (inside[:, background] == 0).all(), "no class feels anything there"
    assert (inside[:, ~background] != 0).any(dim=0).all(), "liver and tumor are learned from"


def test_known_air_in_an_object_stays_background_for_every_class() -> None:
    item = TumorObject(
        name="o",
        case="o",
        annotated=(1, TUMOR),
        image_zyx=np.zeros((2, 2, 2), np.float16),
        labels_zyx=np.full((2, 2, 2), KNOWN_BACKGROUND, np.uint8),
    )
    patch = apply_paste(
        host((2, 2, 2), (2, 5)), (0, 0, 0), Paste(item=item, box=Box.at((0, 0, 0), (2, 2, 2)), start=(0, 0, 0))
    )
    logits = torch.zeros(1, CLASSES, 2, 2, 2)
    logits[:, 7] = 4.0
    logits.requires_grad_()
    partial_loss(logits, patch.labels_zyx[None], [patch.annotated]).backward()
    assert logits.grad is not None
    for code in (2, 5, 7):
        assert (logits.grad[:, code] > 0).all(), "annotated by the host or by nobody: pushed down"
    assert (logits.grad[:, 0] < 0).all()


def test_the_abdominal_region_is_the_box_of_the_organs() -> None:
    labels = np.zeros((6, 7, 8), dtype=np.uint8)
    labels[0, 0, 0] = TUMOR
    labels[5, 6, 7] = KNOWN_BACKGROUND
    assert abdominal_region(labels) is None
    labels[1, 3, 2] = 1
    labels[4, 2, 6] = 13
    assert abdominal_region(labels) == (slice(1, 5), slice(2, 4), slice(2, 7))


def prepared(patch: Patch) -> PreparedCase:
    return PreparedCase(
        name="host",
        annotated=patch.annotated,
        image_zyx=patch.image_zyx.numpy().astype(np.float16),
        labels_zyx=patch.labels_zyx.numpy(),
        locations={},
    )


def test_a_tumor_is_turned_with_its_host() -> None:
    """Cutting a patch of a case into which a tumor is pasted is cutting it of the case with the tumor."""
    case = host((12, 13, 14), ORGANS)
    paste = paste_at(tumor_object((5, 4, 6)), (6, 7, 5), Box.at((0, 0, 0), (12, 13, 14)))
    after = prepared(apply_paste(case, (0, 0, 0), paste))
    turned = SpatialParameters(angles=(0.3, -0.2, 0.1), scale=1.2, mirrored=(1,))
    for parameters in (SpatialParameters(), turned):
        center = PatchCenter(case=prepared(case), voxel=(5.0, 6.0, 7.0), code=0)
        there = PatchCenter(case=after, voxel=center.voxel, code=0)
        online = cut_patch(center, (7, 8, 9), (2.5, 1.5, 1.5), parameters, -2.5, paste)
        offline = cut_patch(there, (7, 8, 9), (2.5, 1.5, 1.5), parameters, -2.5)
        torch.testing.assert_close(online.image_zyx, offline.image_zyx)
        assert torch.equal(online.labels_zyx, offline.labels_zyx)
        assert online.annotated == (*ORGANS, TUMOR)
