"""The calibration of confidence: its curve, its weights, and that its numbers are those of the report."""

import math
import re

import numpy as np
import pytest

from benchmarks.machine import SHIPPED
from flare_infer import labels
from flare_infer.model.model_file import read_model_file
from flare_infer.results.calibration import Calibration, calibration_of
from flare_infer.results.statistics import statistics_of
from tests.flare_infer.results.phantom import boxes, case_of
from tests.real_data import CHECKOUT

SHA256 = read_model_file(SHIPPED).sha256


def test_the_curve_by_hand() -> None:
    calibration = Calibration(offset=-2.0, slope=1.5)
    assert calibration.one(0.8) == pytest.approx(1 / (1 + math.exp(2.0 - 1.5 * math.log(4))))
    assert 0 <= calibration.one(0.0) < 1e-6
    assert 1 - 1e-6 < calibration.one(1.0) <= 1


def test_the_order_of_outlines_stays() -> None:
    calibration = calibration_of(SHA256)
    assert calibration is not None
    assert (np.diff(calibration.many(np.linspace(0.01, 0.999, 500))) > 0).all()


def test_statistics_have_the_calibrated_number_of_the_shipped_weights_alone() -> None:
    calibration = calibration_of(SHA256)
    assert calibration is not None
    liver = boxes((6, 6, 6), liver=(slice(1, 3), slice(1, 3), slice(1, 3)))
    for sha256, expected in ((SHA256, calibration.one(0.95)), ("f" * 64, 0.95)):
        case = case_of(liver, confidence={labels.LIVER: 0.95}, made_with={"weights_sha256": sha256})
        assert statistics_of(case).classes[0].confidence == pytest.approx(expected)
    assert calibration.one(0.95) != pytest.approx(0.95, abs=0.01)


def test_its_numbers_are_those_of_the_report() -> None:
    report = (CHECKOUT / "benchmarks" / "results" / "confidence.md").read_text(encoding="utf-8")
    found = re.search(r"offset (-?[\d.]+), slope ([\d.]+)\.$", report, re.MULTILINE)
    assert found is not None
    assert calibration_of(SHA256) == Calibration(offset=float(found[1]), slope=float(found[2]))
    assert SHA256 in report
