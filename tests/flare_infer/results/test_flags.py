"""Every flag where there is a reason for it, and none where there is none."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from flare_infer import labels
from flare_infer.formats.volume_io import read_volume
from flare_infer.results.case import ClassStatistics, Flag, Intensities, SegmentedCase
from flare_infer.results.flags import KINDS, plausible_ml
from flare_infer.results.phase import guessed_phase
from flare_infer.results.statistics import statistics_of
from tests.flare_infer.results.phantom import Array, boxes, bright, case_of, placed
from tests.real_data import real_data
from tests.tiny import tiny_spec

PORTAL = {"liver": 110, "spleen": 120, "right kidney": 180, "left kidney": 180, "aorta": 150}
ARTERIAL = {"liver": 70, "spleen": 140, "right kidney": 150, "left kidney": 150, "aorta": 340}
UNENHANCED = {"liver": 60, "spleen": 50, "right kidney": 33, "left kidney": 33, "aorta": 42}


def abdomen(**changes: tuple[slice, slice, slice]) -> Array:
    """A whole abdomen of boxes on voxels of 5 mm: nothing about it is worth a flag."""
    parts = {
        "liver": (slice(8, 28), slice(8, 36), slice(4, 24)),  # 1400 mL
        "spleen": (slice(16, 28), slice(24, 36), slice(50, 57)),  # 126 mL
        "right_kidney": (slice(6, 20), slice(38, 47), slice(16, 24)),  # 126 mL
        "left_kidney": (slice(6, 20), slice(38, 47), slice(40, 48)),
        "aorta": (slice(0, 34), slice(40, 44), slice(30, 34)),
    }
    return boxes((34, 52, 64), **(parts | changes))


def abdomen_case(labels_zyx: Array | None = None, hu: Mapping[str, int] = PORTAL, **more: Any) -> SegmentedCase:
    labels_zyx = abdomen() if labels_zyx is None else labels_zyx
    return case_of(labels_zyx, bright(labels_zyx, hu), placed((5.0, 5.0, 5.0)), **more)


def flags(case: SegmentedCase, kind: str) -> list[Flag]:
    assert kind in KINDS
    return [flag for flag in statistics_of(case).flags if flag.kind == kind]


def test_a_sound_case_has_no_flag() -> None:
    case = abdomen_case(spec=tiny_spec(), confidence=dict.fromkeys(labels.CODES, 0.9))
    assert statistics_of(case).flags == ()


def test_a_short_scan() -> None:
    spec = tiny_spec(spacing_mm=(5.0, 5.0, 5.0), patch=(80, 16, 16))
    (flag,) = flags(abdomen_case(spec=spec), "short scan")
    assert "about 170 mm from the lowest to the highest slice, and the network looks at 400 mm" in flag.reason
    assert flag.code is None
    assert not flags(abdomen_case(spec=replace(spec, patch=(64, 16, 16))), "short scan")


def test_an_organ_that_the_scan_cuts_but_not_a_vessel() -> None:
    (flag,) = flags(abdomen_case(abdomen(spleen=(slice(22, 34), slice(24, 36), slice(50, 57)))), "organ cut")
    assert flag.code == labels.SPLEEN
    assert "the spleen reaches the upper edge of the scan" in flag.reason


def test_a_volume_that_no_adult_has() -> None:
    (flag,) = flags(abdomen_case(abdomen(spleen=(slice(16, 28), slice(14, 36), slice(50, 64)))), "implausible volume")
    assert flag.code == labels.SPLEEN
    assert "462.0 mL of spleen, where an adult has 41 to 429" in flag.reason
    small = abdomen(left_kidney=(slice(6, 12), slice(38, 44), slice(40, 46)))
    assert [flag.code for flag in flags(abdomen_case(small), "implausible volume")] == [labels.LEFT_KIDNEY]
    cut = abdomen(left_kidney=(slice(0, 6), slice(38, 44), slice(40, 46)))
    assert not flags(abdomen_case(cut), "implausible volume")


def test_plausible_volumes_are_a_third_and_three_times_the_reference() -> None:
    assert plausible_ml(labels.LIVER) == pytest.approx((1400 / 1.05 / 3, 1800 / 1.05 * 3))
    assert plausible_ml(labels.GALLBLADDER) == pytest.approx((0, 68 / 1.05 * 3))
    assert plausible_ml(labels.AORTA) is None


@pytest.mark.parametrize(
    ("hu", "phase", "flagged"),
    [(PORTAL, "portal venous", False), (ARTERIAL, "arterial", True), (UNENHANCED, "unenhanced", True)],
)
def test_the_contrast_phase(hu: Mapping[str, int], phase: str, flagged: bool) -> None:
    case = abdomen_case(hu=hu)
    assert statistics_of(case).phase == phase
    assert bool(flags(case, "contrast phase")) == flagged
    if flagged:
        assert f"looks {phase} (medians: liver {hu['liver']} HU" in flags(case, "contrast phase")[0].reason


def organ(hu: float, volume_ml: float = 100.0) -> ClassStatistics:
    return ClassStatistics(
        code=1, name="x", volume_ml=volume_ml, intensities=Intensities(mean=hu, sd=0.0, median=hu)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("organs", "phase"),
    [
        ({}, ""),
        ({labels.LIVER: organ(100)}, ""),
        ({labels.RIGHT_KIDNEY: organ(30)}, "unenhanced"),
        ({labels.RIGHT_KIDNEY: organ(150), labels.LIVER: organ(100)}, ""),
        ({labels.AORTA: organ(300)}, ""),
        ({labels.AORTA: organ(300), labels.SPLEEN: organ(150)}, "arterial"),
        ({labels.AORTA: organ(160), labels.SPLEEN: organ(130)}, "portal venous"),
        # A fatty liver is dark in every phase: the spleen says which one it is.
        ({labels.AORTA: organ(160), labels.LIVER: organ(50), labels.SPLEEN: organ(125)}, "portal venous"),
        ({labels.AORTA: organ(40, 0.5), labels.LIVER: organ(60)}, ""),
        ({labels.AORTA: organ(40), labels.LEFT_KIDNEY: organ(160), labels.LIVER: organ(100)}, "portal venous"),
    ],
)
def test_the_phase_from_what_was_found(organs: Mapping[int, ClassStatistics], phase: str) -> None:
    assert guessed_phase(organs) == phase


def test_values_that_are_no_hounsfield_units() -> None:
    case = abdomen_case()
    shifted = replace(case, scan=replace(case.scan, array_zyx=case.scan.array_zyx + 1024), in_hounsfield=False)
    (flag,) = flags(shifted, "no Hounsfield units")
    assert "no Hounsfield units" in flag.reason
    assert not flags(case, "no Hounsfield units")


def test_a_left_right_conflict() -> None:
    mirrored = np.ascontiguousarray(abdomen()[:, :, ::-1])
    (flag,) = flags(abdomen_case(mirrored), "left-right conflict")
    assert "the liver was found left of the spleen" in flag.reason
    assert not flags(abdomen_case(), "left-right conflict")


def test_kidneys_whose_sides_are_exchanged() -> None:
    exchanged = abdomen()
    right, left = (exchanged == code for code in labels.KIDNEYS)
    exchanged[right], exchanged[left] = labels.LEFT_KIDNEY, labels.RIGHT_KIDNEY
    (flag,) = flags(abdomen_case(exchanged), "left-right conflict")
    assert "the right kidney was found left of the left kidney" in flag.reason


def test_sides_of_another_models_names() -> None:
    names = ("background", "kidney_left", "kidney_right")
    labels_zyx = np.zeros((10, 10, 20), dtype=np.uint8)
    labels_zyx[2:8, 2:8, 2:8], labels_zyx[2:8, 2:8, 12:18] = 1, 2
    assert flags(case_of(labels_zyx, names=names), "left-right conflict")
    labels_zyx[labels_zyx > 0] = 3 - labels_zyx[labels_zyx > 0]
    assert not flags(case_of(labels_zyx, names=names), "left-right conflict")


def test_low_confidence() -> None:
    sure = dict.fromkeys(labels.CODES, 0.9)
    (flag,) = flags(abdomen_case(confidence=sure | {labels.SPLEEN: 0.2, labels.TUMOR: 0.1}), "low confidence")
    assert flag.code == labels.SPLEEN  # and nothing of the tumor, of which there is none
    assert "the network is unsure of the spleen (confidence 0.20)" in flag.reason
    assert not flags(abdomen_case(confidence=sure), "low confidence")


PHASES = {
    "chaos1": "portal venous",
    "hcc006_p3": "portal venous",
    "hcc015_p3": "portal venous",
    "panc001": "arterial",
    "lidc_chest": "arterial",
    "lidc0314": "unenhanced",
    "torso3mm": "unenhanced",
}


@pytest.mark.parametrize("name", PHASES)
def test_a_real_ct_has_the_phase_that_is_known_of_it(name: str) -> None:
    folder = real_data() / "ct"
    scan, reference = (read_volume(folder / f"{name}_{kind}.nii.gz") for kind in ("0000", "labels"))
    case = SegmentedCase(name=name, scan=scan, labels=reference, names=labels.NAMES)
    statistics = statistics_of(case)
    assert statistics.phase == PHASES[name]
    liver = statistics.classes[labels.LIVER - 1]
    assert liver.intensities is not None
    assert 30 < liver.intensities.median < 200
    assert not [flag for flag in statistics.flags if flag.kind in {"left-right conflict", "no Hounsfield units"}]
