"""Confidence: by hand on a few voxels, for any division into slabs; labels do not depend on it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from flare_infer.geometry import Box
from flare_infer.segment.confidence import ConfidenceMeter
from flare_infer.segment.preprocess import WayBack
from flare_infer.segment.segmenter import Segmenter
from flare_infer.volume.orient import turn
from flare_infer.volume.volume import Placement, Volume
from tests.tiny import LPS, pointwise_spec

PLACED = Placement(spacing_mm=(1.0, 1.0, 1.0), origin_mm=(0.0, 0.0, 0.0), axes=LPS)
AS_IT_IS = turn(Volume(array_zyx=np.zeros((1, 1, 1)), placement=PLACED), "LPS")[1]


def logits_of(*probabilities: tuple[float, ...]) -> torch.Tensor:
    """Logits (channels, n, 1, 1) of voxels one above the other with these probabilities."""
    return torch.tensor(probabilities).log().t()[:, :, None, None]


VOXELS = (
    (0.1, 0.7, 0.2),  # wins
    (0.2, 0.5, 0.3),  # wins
    (0.6, 0.3, 0.1),  # background, but nearly found
    (0.998, 0.001, 0.001),  # nothing
    (0.3, 0.1, 0.6),  # the other class wins
)
CODES = (0, 4, 9)


@pytest.mark.parametrize("lengths", [(5,), (2, 3), (1, 1, 1, 1, 1)])
def test_the_overlap_that_the_network_expects(lengths: tuple[int, ...]) -> None:
    meter = ConfidenceMeter(CODES)
    for slab in torch.split(logits_of(*VOXELS), lengths, dim=1):
        meter.take(slab)
    inside, everywhere = 0.7 + 0.5, 0.7 + 0.5 + 0.3 + 0.1
    other = 2 * 0.6 / (1 + 0.2 + 0.3 + 0.1 + 0.6)
    assert meter.by_code() == {4: pytest.approx(2 * inside / (2 + everywhere)), 9: pytest.approx(other)}


def test_a_class_that_wins_nowhere_has_no_confidence() -> None:
    meter = ConfidenceMeter(CODES)
    meter.take(logits_of((0.4, 0.35, 0.25), (0.998, 0.001, 0.001)))
    assert meter.by_code() == {}


def test_certain_voxels_have_the_confidence_one() -> None:
    meter = ConfidenceMeter(CODES)
    meter.take(logits_of((1e-9, 1.0, 1e-9), (1.0, 1e-9, 1e-9)))
    assert meter.by_code() == {4: pytest.approx(1.0)}


def test_probabilities_of_lesions_are_kept_where_they_lie_in_the_scan() -> None:
    """A scan twice as fine, whose first 3 planes and 1 column were not looked at."""
    meter = ConfidenceMeter(CODES, kept=(9,))
    for slab in torch.split(logits_of(*VOXELS), (2, 3), dim=1):
        meter.take(slab)
    way_back = WayBack(reorientation=AS_IT_IS, turned_shape=(10, 2, 2))
    found = meter.kept(way_back, (5, 1, 1), Box.at((3, 0, 1), (10, 2, 2)))
    assert found.indices.tolist() == [[3 + 9, 1, 1 + 1]]
    assert found.values.tolist() == [pytest.approx(0.6)]


def test_the_mean_inside_a_mask() -> None:
    meter = ConfidenceMeter(CODES, kept=(4, 9))
    meter.take(logits_of(*VOXELS))
    found = meter.kept(WayBack(reorientation=AS_IT_IS, turned_shape=(5, 1, 1)), (5, 1, 1), Box.at((0, 0, 0), (5, 1, 1)))
    mask = np.array([False, True, True, True])[:, None, None]
    box = Box.at((0, 0, 0), (4, 1, 1))
    assert found.mean_inside(mask, box) == pytest.approx(0.5)
    assert found.mean_inside(mask, box.moved((1, 0, 0))) == pytest.approx(0.6)
    assert found.mean_inside(np.zeros_like(mask), box) is None


def test_labels_do_not_depend_on_it(scan: Volume) -> None:
    """A network that sees a lesion where it is bright, and no less of it when it is asked how sure it is."""
    spec = pointwise_spec(3, (8, 16, 16), labels=("background", "liver", "tumor"), spacing_mm=(5.0, 2.5, 2.0))

    def run(image: torch.Tensor) -> torch.Tensor:
        return torch.cat((torch.zeros_like(image), image, 2 * image - 0.8), dim=1)

    plain = Segmenter(spec=spec, run=run)
    without, asked = (one.segment(scan) for one in (plain, replace(plain, with_confidence=True)))
    assert (without.confidence, without.lesion_probabilities) == ({}, None)
    np.testing.assert_array_equal(without.labels.array_zyx, asked.labels.array_zyx)
    assert set(asked.confidence) == {1, 2}
    assert all(0 < value < 1 for value in asked.confidence.values())
    known = asked.lesion_probabilities
    assert known is not None
    # On the model's own grid every voxel of the lesion is named once.
    assert sorted(map(tuple, known.indices.tolist())) == sorted(
        map(tuple, np.argwhere(asked.labels.array_zyx == 2).tolist())
    )
    at = tuple(known.indices[0])
    value = float((np.clip(scan.array_zyx[at], -200, 300) - 50) / 100)
    logits = np.exp([0.0, value, 2 * value - 0.8])
    assert known.values[0] == pytest.approx(logits[2] / logits.sum(), rel=1e-4)
    assert math.isfinite(known.values.sum())
