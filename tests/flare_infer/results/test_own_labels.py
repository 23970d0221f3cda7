"""What is measured of a case whose model has a label set of its own."""

import numpy as np

from flare_infer.exports.color_table import colors_of
from flare_infer.exports.terms import TISSUE, term_of
from flare_infer.label_set import LabelSet
from flare_infer.page.upright import point_of_interest
from flare_infer.results.case import SegmentedCase
from flare_infer.results.statistics import statistics_of
from flare_infer.volume.volume import Placement, Volume
from tests.tiny import LPS, tiny_spec

NAMES = ("background", "right hip", "left hip", "femur", "tear")
OWN = LabelSet(names=NAMES, lesions={"tear": ("femur",)}, pairs=(("right hip", "left hip"),))


def case(own: LabelSet | None) -> SegmentedCase:
    """Both hips on the wrong side, and a tear within the left one that touches a little of the femur."""
    codes = np.zeros((12, 24, 24), dtype=np.uint8)
    codes[2:10, 4:12, 14:22], codes[2:10, 4:12, 2:10], codes[2:10, 12:20, 2:10] = 1, 2, 3
    codes[4:7, 8:12, 4:7] = 4
    placement = Placement(spacing_mm=(2.0, 2.0, 2.0), origin_mm=(0.0, 0.0, 0.0), axes=LPS)
    labels = Volume(array_zyx=codes, placement=placement)
    scan = Volume(array_zyx=codes.astype(np.int16) * 40, placement=placement)
    return SegmentedCase(name="a", scan=scan, labels=labels, names=NAMES, spec=tiny_spec(labels=NAMES, own_labels=own))


def test_lesions_their_organs_and_sides_are_those_of_the_label_set() -> None:
    found = statistics_of(case(OWN))
    (lesion,) = found.lesions
    assert (lesion.code, lesion.organ) == (4, "femur"), "most of what is around it is hip, in which it cannot lie"
    (flag,) = (flag for flag in found.flags if flag.kind == "left-right conflict")
    assert flag.reason.startswith("the right hip was found left of the left hip")
    unknown = statistics_of(case(None))
    assert (unknown.lesions, [flag for flag in unknown.flags if flag.kind == "left-right conflict"]) == ((), [])


def test_the_picture_shows_its_lesion_and_every_class_has_color_and_term() -> None:
    segmented = case(OWN)
    point = point_of_interest(segmented.labels.array_zyx, (2.0, 2.0, 2.0), NAMES, segmented.own_lesions)
    assert [4 in np.moveaxis(segmented.labels.array_zyx, axis, 0)[at] for axis, at in enumerate(point)] == [True] * 3
    assert len(set(colors_of(NAMES))) == len(NAMES)
    assert term_of("tear").kind == TISSUE
