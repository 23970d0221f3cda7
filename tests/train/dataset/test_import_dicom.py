"""DICOM to a dataset: voxels are where they were drawn, and a case annotates what was drawn and nothing else."""

import gzip
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from highdicom.seg import SegmentationTypeValues
from typer.testing import CliRunner

from flare_infer import labels
from flare_infer.dicom.contours import filled
from flare_infer.dicom.structures import Coded, Structure
from flare_infer.formats.volume_io import read_volume
from tests.dicom.drawn import (
    HEART,
    KIDNEY,
    LEFT,
    LIVER,
    LIVER_SRT,
    NEOPLASM,
    RIGHT,
    ball,
    keyhole,
    outlines,
    write_rtstruct,
    write_seg,
)
from tests.dicom.kinds import TURNED
from tests.dicom.series import PATIENT, ROOT, UPRIGHT, Made, write
from train.commands.app import app
from train.dataset.cases import read_cases
from train.dataset.label_mapping import LabelMapping
from train.dataset.splits import read_patients
from train.dataset.structure_table import class_of

LIVER_MASK, KIDNEY_MASK, TUMOR_MASK = ball((6, 9, 7), 6.5), ball((4, 11, 18), 4.2), ball((6, 9, 6), 2.5)
SEGMENTS = {
    "Liver": (LIVER_MASK, LIVER, None, None),
    "something": (KIDNEY_MASK, KIDNEY, LEFT, None),
    "lesion 1": (TUMOR_MASK, NEOPLASM, None, LIVER),
}
FEET_FIRST = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
AXES = {"upright": UPRIGHT, "oblique": tuple(map(float, TURNED)), "feet first": FEET_FIRST}


def truth() -> np.ndarray:
    codes = np.where(LIVER_MASK, labels.LIVER, np.where(KIDNEY_MASK, labels.LEFT_KIDNEY, 0))
    return np.where(TUMOR_MASK, labels.TUMOR, codes).astype(np.uint8)


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def imported(target: Path) -> dict[str, Any]:
    return json.loads((target / "annotated.json").read_text())


def label_map(target: Path) -> np.ndarray:
    (path,) = (target / "labelsTr").iterdir()
    return read_volume(path).array_zyx


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    return write(tmp_path / "study" / "ct").parent


@pytest.mark.parametrize("kind", list(SegmentationTypeValues))
@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
def test_a_segmentation_comes_out_voxel_by_voxel(axes: Any, kind: SegmentationTypeValues, tmp_path: Path) -> None:
    made = Made(axes=axes)
    write(tmp_path / "study", made)
    parts = SEGMENTS
    if kind is SegmentationTypeValues.LABELMAP:  # of which no voxel holds two
        parts = {**SEGMENTS, "Liver": (LIVER_MASK & ~TUMOR_MASK, LIVER, None, None)}
    write_seg(tmp_path / "study" / "seg" / "a.dcm", made, parts, kind)
    assert run("import-dicom", tmp_path / "study", tmp_path / "dataset")[::2] == (0, "")
    np.testing.assert_array_equal(label_map(tmp_path / "dataset"), truth())
    (image,) = (tmp_path / "dataset" / "imagesTr").iterdir()
    np.testing.assert_array_equal(read_volume(image).array_zyx, made.array_zyx)
    assert list(imported(tmp_path / "dataset").values()) == [[labels.LIVER, labels.LEFT_KIDNEY, labels.TUMOR]]


@pytest.mark.parametrize("kind", ["CLOSED_PLANAR", "CLOSEDPLANAR_XOR"])
@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
def test_contours_are_filled_holes_left_open(axes: Any, kind: str, tmp_path: Path) -> None:
    made = Made(axes=axes)
    write(tmp_path / "study", made)
    shell = LIVER_MASK & ~TUMOR_MASK
    slices = {index: outlines(shell[index]) for index in range(len(shell)) if shell[index].any()}
    assert max(map(len, slices.values())) == 2
    write_rtstruct(tmp_path / "study" / "rt.dcm", made, {"liver": slices, "kidney_left": {}, "Body": {3: []}}, kind)
    assert run("import-dicom", tmp_path / "study", tmp_path / "dataset")[::2] == (0, "")
    assert dice(label_map(tmp_path / "dataset") == labels.LIVER, shell) >= 0.98
    assert list(imported(tmp_path / "dataset").values()) == [[labels.LIVER]]  # an empty region was not drawn


def test_a_keyhole_is_a_hole() -> None:
    outer, inner = outlines(LIVER_MASK[6])[0], outlines(TUMOR_MASK[6])[0]
    hollow = LIVER_MASK[6] & ~TUMOR_MASK[6]
    for hole in (inner, inner[::-1]):
        assert dice(filled([keyhole(outer, hole)], hollow.shape), hollow) >= 0.98
        np.testing.assert_array_equal(filled([outer, hole], hollow.shape), hollow)


def test_what_a_contour_runs_through_is_inside() -> None:
    square = np.array([[2, 2], [6, 2], [6, 5], [2, 5]], float)
    for points in (square, square[::-1]):
        assert np.argwhere(filled([points], (9, 9))).tolist() == [[y, x] for y in range(2, 7) for x in range(2, 6)]
    assert np.argwhere(filled([np.array([[3.0, 4.0]])], (9, 9))).tolist() == [[3, 4]]
    assert not filled([square + 20], (9, 9)).any()


def test_unknown_structures_are_listed_and_a_table_says_what_they_are(inputs: Path, tmp_path: Path) -> None:
    heart = (ball((6, 9, 7), 2), HEART, None, None)
    kidney = (KIDNEY_MASK, KIDNEY, None, None)
    write_seg(inputs / "a.dcm", Made(), {"Liver": SEGMENTS["Liver"], "pump": heart, "kidney": kidney})
    code, stdout, _ = run("import-dicom", inputs, tmp_path / "dataset")
    assert code == 0
    assert "left out, no known class: pump (80891009), of 1 case(s)" in stdout
    assert "left out, no known class: kidney (64033007), of 1 case(s)" in stdout
    assert list(imported(tmp_path / "dataset").values()) == [[labels.LIVER]]
    table = tmp_path / "table.toml"
    table.write_text('"KIDNEY" = "left kidney"\n"80891009" = "background"\n')
    code, stdout, _ = run("import-dicom", inputs, tmp_path / "dataset", "--map", table)
    assert (code, "no known class" in stdout, "there already" in stdout) == (0, False, False)
    assert list(imported(tmp_path / "dataset").values()) == [[labels.LIVER, labels.LEFT_KIDNEY]]
    assert dice(label_map(tmp_path / "dataset") == labels.LEFT_KIDNEY, KIDNEY_MASK) == 1


def coded(name: str, kind: Any = None, side: Any = None, region: Any = None) -> Structure:
    codes = [
        None if one is None else Coded(value=one.value, scheme=one.scheme_designator) for one in (kind, side, region)
    ]
    return Structure(number=1, name=name, kind=codes[0], side=codes[1], region=codes[2])


@pytest.mark.parametrize(
    ("structure", "code"),
    [
        (coded("x", LIVER), labels.LIVER),
        (coded("x", LIVER_SRT), labels.LIVER),
        (coded("x", KIDNEY, RIGHT), labels.RIGHT_KIDNEY),
        (coded("x", KIDNEY), None),
        (coded("right kidney", KIDNEY), labels.RIGHT_KIDNEY),
        (coded("right kidney", KIDNEY, LEFT), None),
        (coded("liver tumor", NEOPLASM), labels.TUMOR),
        (coded("x", NEOPLASM, None, KIDNEY), labels.TUMOR),
        (coded("x", NEOPLASM, None, HEART), None),
        (coded("background", HEART), None),
        (coded("GTVp"), None),
    ],
)
def test_codes_and_names_say_what_a_structure_is(structure: Structure, code: int | None) -> None:
    assert class_of(structure, None) == code


def test_a_table_takes_precedence() -> None:
    table = LabelMapping(source=Path("t"), codes={"gtvP": 14, "64033007/7771000": 0, "64033007": 2, "*": 0})
    assert class_of(coded("GTVp"), table) == labels.TUMOR
    assert class_of(coded("left kidney", KIDNEY, LEFT), table) == labels.BACKGROUND
    assert class_of(coded("x", KIDNEY, RIGHT), table) == labels.RIGHT_KIDNEY
    assert class_of(coded("x", LIVER), table) == labels.LIVER
    assert class_of(coded("x", HEART), table) == labels.BACKGROUND


def test_cases_of_a_patient_stay_together_and_nobody_learns_who_it_is(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for number, patient in enumerate(("1234", "1234", "5678"), 1):
        made = Made(uid=f"{ROOT}{number}", study=f"{ROOT}9{number}", change=lambda ds, _, who=patient: named(ds, who))
        write(study / str(number), made)
        write_seg(study / f"{number}.dcm", made, SEGMENTS)
    code, stdout, _ = run("import-dicom", study, tmp_path / "dataset")
    assert code == 0
    names = [case.name for case in read_cases(tmp_path / "dataset")]
    assert len(names) == 3
    groups = read_patients(tmp_path / "dataset", names)
    assert sorted(list(groups.values()).count(group) for group in set(groups.values())) == [1, 2]
    files = [path for path in (tmp_path / "dataset").rglob("*") if path.is_file()]
    contents = [gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes() for path in files]
    everything = stdout.encode() + b"".join(contents) + "".join(map(str, files)).encode()
    hashed = [hashlib.sha256(word.encode()).hexdigest()[:8] for word in ("1234", "5678")]
    assert [word for word in (*PATIENT, "5678", *hashed) if word.encode() in everything] == []


def named(ds: Any, patient: str) -> None:
    ds.PatientID = patient


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_run_keeps_what_is_there_and_makes_what_is_not(inputs: Path, tmp_path: Path) -> None:
    other = Made(uid=ROOT + "2", study=ROOT + "8")
    write(inputs / "2", other)
    write_seg(inputs / "a.dcm", Made(), SEGMENTS)
    write_seg(inputs / "b.dcm", other, SEGMENTS)
    given, target = contents(inputs), tmp_path / "dataset"
    assert run("import-dicom", inputs, target)[0] == 0
    before = contents(target)
    first, second = sorted((target / "labelsTr").iterdir())
    second.unlink()  # as if the run had been killed
    (target / "labelsTr" / ".writing-1-ab.nii").write_bytes(b"half")
    edited = imported(target)
    (name,) = (name for name in edited if first.name.startswith(name))
    (target / "annotated.json").write_text(json.dumps({**edited, name: [1, 2, 13, 14]}))
    inode = first.stat().st_ino
    code, stdout, _ = run("import-dicom", inputs, target)
    assert (code, "2 cases, 1 of them there already" in stdout, first.stat().st_ino) == (0, True, inode)
    after = contents(target)
    assert {path for path in before if before[path] != after.get(path)} == {str(target / "annotated.json")}
    assert after.keys() == before.keys()
    assert imported(target)[name] == [1, 2, 13, 14]
    assert contents(inputs) == given

    liver = SEGMENTS["Liver"]
    write_seg(inputs / "a.dcm", Made(), {"Liver": liver})
    write_seg(inputs / "b.dcm", other, {"Liver": liver})
    assert run("import-dicom", inputs, target)[0] == 0
    assert list(imported(target).values()) == [[labels.LIVER], [labels.LIVER]]

    write_seg(inputs / "b.dcm", other, {"pump": (LIVER_MASK, HEART, None, None)})
    assert run("import-dicom", inputs, target)[0] == 0
    assert len(imported(target)) == len(read_cases(target)) == 1


def test_what_cannot_be_imported_is_named_and_the_rest_goes_on(inputs: Path, tmp_path: Path) -> None:
    write_seg(inputs / "good.dcm", Made(), SEGMENTS)
    gap, twice, small = (Made(uid=f"{ROOT}{number}", study=ROOT + "8") for number in (2, 3, 4))
    write(inputs / "gap", gap, leave=[5])
    write_seg(inputs / "gap.dcm", gap, SEGMENTS)
    write(inputs / "twice", twice)
    write_seg(inputs / "one.dcm", twice, SEGMENTS)
    write_rtstruct(inputs / "two.dcm", twice, {"liver": {6: outlines(LIVER_MASK[6])}})
    write(inputs / "small", small)
    write_seg(inputs / "moved.dcm", replace(small, origin=(-100.35, -80.0, -300.0)), SEGMENTS)
    write_seg(inputs / "lonely.dcm", Made(uid=ROOT + "77"), SEGMENTS)
    write(inputs / "bare", Made(uid=ROOT + "5", study=ROOT + "8"))
    short = Made(uid=ROOT + "6", study=ROOT + "8")
    write(inputs / "short", short)
    cut = write_seg(inputs / "cut.dcm", short, SEGMENTS)
    cut.write_bytes(cut.read_bytes()[:-1000])

    code, stdout, stderr = run("import-dicom", inputs, tmp_path / "dataset")
    lines = stderr.splitlines()
    assert code == 1
    assert len(lines) == 5, lines
    assert [line for line in lines if "; it is damaged or cut short" in line], lines
    assert [line for line in lines if "1 slice(s) missing" in line]
    assert [line for line in lines if "liver is drawn in seg_" in line and "and rtstruct_" in line]
    assert [line for line in lines if "lies between the voxels of the CT" in line]
    assert [line for line in lines if "the CT series that it was drawn on is not among the inputs" in line]
    assert "left out 1 CT series on which nothing is drawn" in stdout
    assert not [word for word in PATIENT if word in stdout + stderr]
    assert len(imported(tmp_path / "dataset")) == 1


def test_a_folder_of_something_else_is_left_alone(inputs: Path, tmp_path: Path) -> None:
    write_seg(inputs / "a.dcm", Made(), SEGMENTS)
    assert run("import-dicom", inputs, inputs / "dataset")[0] == 2
    other = tmp_path / "other"
    (other / "imagesTr").mkdir(parents=True)
    code, _, stderr = run("import-dicom", inputs, other)
    assert (code, "expected a new folder, or the dataset of an earlier import" in stderr) == (2, True)
    assert run("import-dicom", tmp_path / "other", tmp_path / "dataset")[0] == 2
