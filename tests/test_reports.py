"""Reports in benchmarks/results say which weights they were made with, and whether those are the shipped ones."""

import re
from pathlib import Path

import pytest

from benchmarks.machine import SHIPPED, made_with
from flare_infer.model.model_file import read_model_file
from flare_infer.model.network import UNet
from flare_infer.model.weights import save_model
from tests.real_data import CHECKOUT
from tests.tiny import tiny_spec

BENCHMARKS = CHECKOUT / "benchmarks"
REPORTS = sorted(path.name for path in (BENCHMARKS / "results").glob("*.md"))
HASH = r"SHA-256 ([0-9a-f]{64})|hash not recorded"
LINE = re.compile(rf"^Weights: .+, (?:{HASH}), (the|not the) shipped ones\.$", re.MULTILINE)


def test_a_line_names_the_weights(tmp_path: Path) -> None:
    shipped = LINE.fullmatch(made_with(SHIPPED))
    assert shipped is not None
    assert shipped.groups() == (read_model_file(SHIPPED).sha256, "the")
    spec = tiny_spec()
    save_model(tmp_path / "mine", spec, UNet(spec.network, spec.classes))
    other = LINE.fullmatch(made_with(tmp_path / "mine"))
    assert other is not None
    assert other.groups() == (read_model_file(tmp_path / "mine").sha256, "not the")


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_says_whether_its_weights_are_shipped(name: str) -> None:
    report = (BENCHMARKS / "results" / name).read_text(encoding="utf-8")
    found = LINE.findall(report)
    assert len(found) == report.count("\nWeights: ")
    assert all((sha256 == read_model_file(SHIPPED).sha256) == (word == "the") for sha256, word in found)
    script = (BENCHMARKS / name).with_suffix(".py")
    if script.is_file() and "made_with(" in script.read_text(encoding="utf-8"):
        assert found, "its script writes that line"
