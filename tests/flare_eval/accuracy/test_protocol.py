"""The challenge's rules on masks small enough to count, and against the organizers' formulas."""

import math

import numpy as np
import pytest

from benchmarks.organizers import score_maps
from flare_eval.accuracy.classes import ON_REFERENCE_SLICES, TOLERANCES_MM
from flare_eval.accuracy.mode import Mode
from flare_eval.accuracy.protocol import LEAST_DSC_FOR_NSD, ClassScore, score_class
from flare_infer import labels

MM = (1.0, 1.0, 1.0)
FIXED, OFFICIAL = Mode.FIXED, Mode.OFFICIAL
BOTH = pytest.mark.parametrize("mode", list(Mode))


def column(*slices: str) -> np.ndarray:
    """A label map of one row; every word is a slice, `#` is aorta."""
    return np.array([[[labels.AORTA * (letter == "#") for letter in word]] for word in slices], dtype=np.uint8)


def test_the_tolerances_are_the_challenges() -> None:
    assert [TOLERANCES_MM[code] for code in labels.CODES] == [5, 3, 3, 5, 2, 2, 2, 2, 2, 3, 5, 7, 3, 2]
    assert ON_REFERENCE_SLICES == (5, 6, 10)
    assert LEAST_DSC_FOR_NSD == 0.2


@BOTH
def test_empty_rules(draw, mode: Mode) -> None:
    empty, full = draw("..."), draw(".1.")
    assert score_class(empty, empty, 1, MM, mode) == ClassScore(dsc=1.0, nsd=1.0)
    assert score_class(full, empty, 1, MM, mode) == ClassScore(dsc=0.0, nsd=0.0)
    assert score_class(empty, full, 1, MM, mode) == ClassScore(dsc=0.0, nsd=0.0)


@BOTH
@pytest.mark.parametrize(("rest", "nsd"), [(8, 1.0), (9, 0.0)])
def test_nsd_is_zero_below_a_dsc_of_a_fifth(draw, mode: Mode, rest: int, nsd: float) -> None:
    # Liver, 5 mm: all lies near. DSC 2 * 1 / (1 + 9) is exactly 0.2, which still counts; 2 / 11 does not.
    small, large = draw("1" + "." * rest), draw("1" * (rest + 1))
    score = score_class(small, large, 1, (0.5, 0.5, 0.5), mode)
    assert score.dsc == pytest.approx(2 / (2 + rest), abs=1e-4)
    assert score.nsd == nsd


def test_the_exclusive_bound_loses_the_last_slice_in_official_mode_only() -> None:
    reference = column("....", "##..", "##..", "##..", "....")
    prediction = column("##..", "##..", "##..", "....", "##..")  # right on two of three slices, and beyond them
    assert score_class(prediction, reference, labels.AORTA, MM, OFFICIAL) == ClassScore(dsc=1.0, nsd=1.0)
    fixed = score_class(prediction, reference, labels.AORTA, MM, FIXED)
    assert fixed.dsc == pytest.approx(2 * 4 / (4 + 6))
    assert fixed.nsd == 1.0  # the missing slice lies within 2 mm


def test_a_wrong_last_slice_counts_in_fixed_mode() -> None:
    reference, prediction = column("##..", "##.."), column("##..", "..##")
    assert score_class(prediction, reference, labels.AORTA, MM, OFFICIAL).dsc == 1.0
    assert score_class(prediction, reference, labels.AORTA, MM, FIXED).dsc == 0.5


def test_an_organ_of_one_slice_is_nan_in_official_mode_only() -> None:
    reference, prediction = column("....", "##..", "...."), column("##..", "##..", "....")
    official = score_class(prediction, reference, labels.AORTA, MM, OFFICIAL)
    assert math.isnan(official.dsc)
    assert math.isnan(official.nsd)
    assert score_class(prediction, reference, labels.AORTA, MM, FIXED) == ClassScore(dsc=1.0, nsd=1.0)


def test_other_organs_are_compared_everywhere(draw) -> None:
    reference = np.concatenate([draw("..."), draw("11."), draw("...")])
    prediction = np.concatenate([draw("11."), draw("11."), draw("...")])
    assert score_class(prediction, reference, labels.LIVER, MM, FIXED).dsc == pytest.approx(2 * 2 / 6)


def test_official_scores_are_rounded_to_four_decimals(draw) -> None:
    assert score_class(draw("111..."), draw("111111"), 1, MM, OFFICIAL).dsc == 0.6667
    assert score_class(draw("111..."), draw("111111"), 1, MM, FIXED).dsc == 2 / 3


@pytest.mark.parametrize("seed", range(6))
def test_official_mode_agrees_with_the_organizers_formulas_on_painted_maps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 18, size=(4, 4, 4))
    reference = np.kron(np.where(coarse < 15, coarse, 0), np.ones((2, 4, 4))).astype(np.uint8)
    prediction = np.roll(reference, rng.integers(-2, 3, size=3), axis=(0, 1, 2))
    prediction[prediction == rng.integers(1, 15)] = 0
    spacing_mm = tuple(rng.choice([0.7, 1.0, 2.5], size=3).tolist())
    expected = score_maps(prediction.T, reference.T, list(spacing_mm[::-1]))
    for code in labels.CODES:
        score = score_class(prediction, reference, code, spacing_mm, OFFICIAL)
        np.testing.assert_allclose((score.dsc, score.nsd), expected[code], rtol=0, atol=1e-9)
