"""Nothing that names a patient leaves a run, but for the objects that belong into the patient's study."""

import gzip
from pathlib import Path

import pydicom
import pytest
from typer.testing import CliRunner

from flare_infer.commands.app import app
from tests.dicom.series import Made, phantom, write

EVERYTHING = ("--to", "dicom-seg,rtstruct,masks,color-table", "--statistics", "--preview", "--report")
PATIENT = "Quisqualis^Annaliese", "19480229", "PAT-4711-0815"
STUDY_DATE = "20210203"
PLANTED = (*PATIENT[0].split("^"), *PATIENT[1:], STUDY_DATE)


def plant(header: pydicom.Dataset, index: int) -> None:
    """No name that is short enough to occur in a page by chance."""
    header.PatientName, header.PatientBirthDate, header.PatientID = PATIENT


@pytest.fixture
def series(tmp_path: Path) -> Path:
    pytest.importorskip("PIL", reason="Pillow, of the extra picture, is not installed")
    write(tmp_path / "series", Made(array_zyx=phantom((24, 40, 44)), change=plant))
    return tmp_path / "series"


def run(series: Path, outputs: Path, weights: Path, *options: str) -> str:
    arguments = ["predict", series, outputs, "--weights", weights, "--device", "cpu", "--verbose", *options]
    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def content(path: Path) -> bytes:
    found = path.read_bytes()
    return gzip.decompress(found) if path.suffix == ".gz" else found


def test_no_output_names_the_patient(series: Path, tmp_path: Path, tiny_weights: Path) -> None:
    outputs = tmp_path / "outputs"
    said = run(series, outputs, tiny_weights, *EVERYTHING)
    files = [path for path in outputs.rglob("*") if path.is_file()]
    assert {"".join(path.suffixes[-2:]) for path in files} >= {
        ".nii.gz", ".seg.dcm", ".rtstruct.dcm", ".statistics.json", ".preview.png", ".report.html", ".html", ".csv",
        ".json", ".ctbl",
    }  # fmt: skip
    for word in PLANTED:
        assert word not in said
        assert not [path for path in outputs.rglob("*") if word in str(path.relative_to(outputs))]
        named = [path.name for path in files if path.suffix != ".dcm" and word.encode() in content(path)]
        assert named == []


def test_objects_of_the_study_name_the_patient(series: Path, tmp_path: Path, tiny_weights: Path) -> None:
    run(series, tmp_path / "outputs", tiny_weights, *EVERYTHING)
    for path in (tmp_path / "outputs").glob("*.dcm"):
        header = pydicom.dcmread(path)
        assert (str(header.PatientName), header.PatientBirthDate, header.PatientID) == PATIENT
        assert header.StudyDate == STUDY_DATE


def test_names_keep_the_patient_where_that_is_asked_for(series: Path, tmp_path: Path, tiny_weights: Path) -> None:
    run(series, tmp_path / "outputs", tiny_weights, "--keep-identity")
    (label_map,) = (tmp_path / "outputs").glob("*.nii.gz")
    assert label_map.name.startswith(f"{PATIENT[2]}_ct_")


def test_no_patient_becomes_a_path(tmp_path: Path, tiny_weights: Path) -> None:
    def climb(header: pydicom.Dataset, index: int) -> None:
        header.PatientID = "../../x/ü:*?"

    write(tmp_path / "series", Made(array_zyx=phantom((24, 40, 44)), change=climb))
    run(tmp_path / "series", tmp_path / "outputs", tiny_weights, "--keep-identity")
    (label_map,) = (tmp_path / "outputs").glob("*.nii.gz")
    assert label_map.name.startswith("x_ct_")
