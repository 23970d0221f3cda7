"""docs/reproduce.md states hours and sizes; they are what the estimate says."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from train.protocol import stages as stages_module
from train.protocol.config import Config, Data, Machine, Pseudo, Test
from train.protocol.counts import Counts
from train.protocol.stages import pipeline_stages
from train.workflow.estimate import Estimate, estimate

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "reproduce.md"
COUNTS = Counts(labeled=2250, lacking=900, tumors=1300, validation=50, unlabeled=1800, tests={"validation": 50})


def test_hours_and_disk_are_those_of_the_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages_module, "choose_device", lambda name: SimpleNamespace(type="cuda"))
    one, eight = estimates(Machine(workers=8)), estimates(Machine(workers=32, gpus=4))
    rows = {}
    for line in DOCUMENT.read_text().splitlines():
        cells = [cell.strip().strip("*") for cell in line.strip("|").split("|")]
        if len(cells) == 5:
            rows[cells[0]] = cells[2:]
    expected = {name: row(one[name], eight[name]) for name in one}
    expected["all"] = row(total(one), total(eight))
    assert {name: rows[name] for name in expected} == expected
    assert rows.keys() == {*expected, "stage", ":---"}


def estimates(machine: Machine) -> dict[str, Estimate]:
    config = Config(
        run=Path("/run"),
        data=Data(dataset=Path("/labeled"), unlabeled=Path("/unlabeled")),
        pseudo=Pseudo(organs=("fine", "/others"), tumor=("fine", "/others")),
        test=(Test(name="validation", images=Path("/images"), labels=Path("/labels")),),
        machine=machine,
    )
    return {stage.name: estimate(stage) for stage in pipeline_stages(config, COUNTS)}


def total(parts: dict[str, Estimate]) -> Estimate:
    return Estimate(
        seconds=sum(part.seconds for part in parts.values()), disk_bytes=sum(part.disk_bytes for part in parts.values())
    )


def row(one: Estimate, eight: Estimate) -> list[str]:
    return [f"{one.seconds / 3600:.1f}", f"{eight.seconds / 3600:.1f}", f"{one.disk_bytes / 1e9:.0f}"]
