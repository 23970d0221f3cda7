"""Organs on the wrong side of the patient: a notice, and none for any real CT."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.labels import GALLBLADDER, LIVER, NAMES, SPLEEN, STOMACH
from flare_infer.runs.case_files import find_cases
from flare_infer.runs.folder import FolderCallbacks, predict_cases
from flare_infer.segment.segmenter import Segmenter
from flare_infer.volume.sides import side_doubts
from flare_infer.volume.volume import Axes, Placement, Volume
from tests.real_data import real_data
from tests.tiny import LPS, pointwise_spec

SPACING_MM = (5.0, 4.0, 2.0)
SHAPE = (24, 40, 150)
BOXES = {LIVER: (10, 60), GALLBLADDER: (40, 48), STOMACH: (90, 110), SPLEEN: (115, 140)}
"""Where organs lie along x, in voxels from the right side to the left."""


def body(**moved: int) -> np.ndarray:
    codes = np.zeros(SHAPE, np.uint8)
    for code, (begin, end) in BOXES.items():
        by = moved.get(NAMES[code], 0)
        codes[4:20, 10:30, begin + by : end + by] = code
    return codes


def volume(codes: np.ndarray, axes: Axes = LPS) -> Volume:
    return Volume(array_zyx=codes, placement=Placement(spacing_mm=SPACING_MM, origin_mm=(-150.0, 9.0, 3.0), axes=axes))


def test_organs_in_their_places_are_no_doubt() -> None:
    assert side_doubts(volume(body()), NAMES) == ()


@pytest.mark.parametrize("flips", list(itertools.product((1, -1), repeat=3)))
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_only_left_and_right_of_the_patient_count(order: tuple[int, ...], flips: tuple[int, ...]) -> None:
    """Stored in any of 48 ways, the same organs are where they are; with left and right exchanged they are not."""
    stored = body().transpose(order)
    spacing = tuple(SPACING_MM[axis] for axis in order)
    rows = np.array(LPS)[list(order)]
    for axis, flip in enumerate(flips):
        if flip < 0:
            stored, rows[axis] = np.flip(stored, axis), -rows[axis]
    for mirror, count in ((1.0, 0), (-1.0, 1)):
        axes = tuple((mirror * row[0], row[1], row[2]) for row in rows.tolist())
        placement = Placement(spacing_mm=spacing, origin_mm=(7.0, 9.0, 3.0), axes=axes)  # type: ignore[arg-type]
        assert len(side_doubts(Volume(array_zyx=stored, placement=placement), NAMES)) == count


@pytest.mark.parametrize(
    ("moved", "says"),
    [
        ({"liver": 90}, "the liver was found left of the spleen"),
        ({"spleen": -100, "stomach": 30}, "the liver was found left of the spleen"),
        ({"stomach": -80}, "the liver was found left of the stomach"),
        ({"gallbladder": 70}, "the gallbladder was found left of the stomach"),
    ],
)
def test_an_organ_out_of_place_is_named(moved: dict[str, int], says: str) -> None:
    (line,) = side_doubts(volume(body(**moved)), NAMES)
    assert line.startswith(says)
    assert "the header may exchange left and right" in line
    assert "situs inversus" in line


@pytest.mark.parametrize(("moved", "count"), [(82, 0), (83, 1)])
def test_twenty_millimeters_decide(moved: int, count: int) -> None:
    """The middle of the spleen is 185 mm left of the liver's, and comes 2 mm nearer with each voxel."""
    codes = np.zeros(SHAPE, np.uint8)
    codes[4:12, 10:30, 10:60] = LIVER
    codes[12:20, 10:30, 115 - moved : 140 - moved] = SPLEEN
    assert len(side_doubts(volume(codes), NAMES)) == count


@pytest.mark.parametrize(("rows", "count"), [(38, 0), (39, 1)])
def test_little_of_an_organ_is_no_doubt(rows: int, count: int) -> None:
    """19.8 or 20.3 mL of spleen at the very right: so little is an error of the model, most likely."""
    codes = np.where(body() == LIVER, LIVER, 0).astype(np.uint8)
    codes[0, :rows, :13] = SPLEEN
    assert len(side_doubts(volume(codes), NAMES)) == count


def test_a_model_of_other_classes_is_not_judged_by_codes() -> None:
    names = ["background", "spleen", "x", "liver"]
    assert len(side_doubts(volume(body()), names)) == 1
    assert side_doubts(volume(body()), ["background", "a", "b", "c"]) == ()
    assert side_doubts(volume(np.zeros(SHAPE, np.uint8)), NAMES) == ()


class ByIntensity(nn.Module):
    """Air, spleen (100 HU) and liver (300 HU), of normalized intensities."""

    def forward(self, batch_nczyx: Tensor) -> Tensor:
        return torch.cat([-(batch_nczyx - value).abs() for value in (-2.5, 0.5, 2.5)], dim=1)


def test_a_flipped_scan_gets_a_notice_on_the_terminal_and_in_the_report(tmp_path: Path) -> None:
    hu = np.select([body() == SPLEEN, body() == LIVER], [100, 300], -1000).astype(np.int16)
    hu[:, ::7][hu[:, ::7] == -1000] = -150  # some fat, as in any CT
    flipped = (LPS[0], LPS[1], (-1.0, 0.0, 0.0))
    inputs, outputs = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    outputs.mkdir()
    write_volume(inputs / "flipped.nii.gz", volume(hu, flipped))
    write_volume(inputs / "right.nii.gz", volume(hu))
    spec = pointwise_spec(3, (16, 64, 64), labels=("background", "spleen", "liver"), spacing_mm=SPACING_MM)
    told: list[str] = []
    callbacks = FolderCallbacks(
        notice=lambda name, line, routine: told.append(f"{name}: {line}") if not routine else None
    )
    predict_cases(Segmenter(spec=spec, run=ByIntensity()), find_cases(inputs).cases, outputs, callbacks)
    (line,) = told
    assert line.startswith("flipped: the liver was found left of the spleen")
    report = json.loads((outputs / "report.json").read_text(encoding="utf-8"))
    assert {case["name"]: len(case["notices"]) for case in report["cases"]} == {"flipped": 1, "right": 0}


def test_reference_label_maps_of_real_cts_are_no_doubt() -> None:
    data = real_data()
    paths = [*sorted((data / "ct").glob("*_labels.nii.gz")), *sorted((data / "labels").glob("organs*/*.nii.gz"))]
    assert paths
    for path in paths:
        assert side_doubts(read_volume(path), NAMES) == (), path
