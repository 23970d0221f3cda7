"""Inputs and outputs exchanged, label maps among scans, and the one file that is asked for."""

import json
from pathlib import Path

import numpy as np
import pytest

from flare_infer.errors import ImageError
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.runs.case_files import find_cases
from flare_infer.volume.label_values import is_label_map, is_scan, refuse_label_map
from flare_infer.volume.volume import Volume
from tests.flare_infer.commands.test_app import REPORT, run

CODES = np.arange(16, dtype=np.int16).reshape(2, 2, 4) % 15


@pytest.fixture
def label_map(scan: Volume) -> Volume:
    codes = (np.arange(scan.array_zyx.size) % 15).reshape(scan.shape).astype(np.uint8)
    return Volume(array_zyx=codes, placement=scan.placement)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def write_all(folder: Path, names: tuple[str, ...], volume: Volume) -> Path:
    folder.mkdir()
    for name in names:
        write_volume(folder / name, volume)
    return folder


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "i4", "u8", "f4", "f8"])
@pytest.mark.parametrize("codes", [CODES, CODES * 0, CODES * 0 + 14, CODES // 14])
def test_whole_numbers_up_to_14_are_a_label_map_however_stored(codes: np.ndarray, dtype: str) -> None:
    stored = codes.astype(dtype)
    assert is_label_map(stored)
    assert not is_scan(stored)
    with pytest.raises(ImageError, match="x: is a label map, no CT: all voxels are") as caught:
        refuse_label_map(Path("x"), stored)
    assert str(codes.max()) in str(caught.value)


@pytest.mark.parametrize("odd", [-1.0, 15.0, 0.5, -1024.0, np.inf, -np.inf])
@pytest.mark.parametrize("at", [(0, 0, 0), (1, 1, 3)])
def test_one_other_voxel_makes_it_none(odd: float, at: tuple[int, int, int]) -> None:
    values = CODES.astype(np.float64)
    values[at] = odd
    refuse_label_map(Path("x"), values)
    assert not is_label_map(values)
    assert is_scan(values) == (odd != 15)


def test_values_that_are_no_numbers_do_not_count() -> None:
    assert is_label_map(np.where(CODES == 3, np.nan, CODES))
    assert not is_label_map(np.full((2, 2, 2), np.nan))


@pytest.mark.parametrize("cts", [("a_0000.nii.gz", "b_0000.nii.gz"), ("a.nii.gz", "b.nii.gz"), ("a.mha", "b.nii")])
@pytest.mark.parametrize("maps", [("a.nii.gz", "b.nii.gz"), ("a_labels.nii.gz", "b_labels.nii.gz")])
def test_exchanged_folders_are_refused_and_the_right_command_works_afterwards(
    cts: tuple[str, ...], maps: tuple[str, ...], tiny_weights: Path, scan: Volume, label_map: Volume, tmp_path: Path
) -> None:
    scans, labels = write_all(tmp_path / "CTS", cts, scan), write_all(tmp_path / "LABELS", maps, label_map)
    before = contents(scans)
    code, stdout, stderr = run("predict", labels, scans, "--weights", tiny_weights, "--device", "cpu")
    assert code in {1, 2}
    assert "written in" not in stdout
    lines = stderr.splitlines()[: None if code == 2 else -1]
    assert all("are inputs and outputs exchanged" in line or "is a label map" in line for line in lines)
    assert {name: data for name, data in contents(scans).items() if name not in REPORT} == before
    code, stdout, stderr = run("predict", scans, labels, "--weights", tiny_weights, "--device", "cpu")
    assert (code, stdout.count("written in")) == (0, 2), stderr
    assert {name: data for name, data in contents(scans).items() if name not in REPORT} == before
    for name in maps:  # what was there is kept, and known
        assert (labels / name).exists()


def test_where_scans_would_be_displaced_nothing_is_written_at_all(
    tiny_weights: Path, scan: Volume, label_map: Volume, tmp_path: Path
) -> None:
    """Label maps of another project's classes are no label maps of ours: the names and voxels of outputs decide."""
    others = Volume(array_zyx=label_map.array_zyx * 7, placement=label_map.placement)
    labels = write_all(tmp_path / "LABELS", ("a.nii.gz",), others)
    for name in ("a.nii.gz", "a_0000.nii.gz", "z_0000.mha", "a.nrrd"):
        scans = write_all(tmp_path / f"CTS {name}", (name,), scan)
        before = contents(scans)
        code, _, stderr = run("predict", labels, scans, "--weights", tiny_weights, "--device", "cpu")
        assert (code, stderr.count("\n")) == (2, 1)
        assert f"holds scans: {name} would be" in stderr
        assert contents(scans) == before


def test_a_folder_of_label_maps_is_refused_case_by_case(tiny_weights: Path, label_map: Volume, tmp_path: Path) -> None:
    labels = write_all(tmp_path / "LABELS", ("a.nii.gz", "b.nii.gz"), label_map)
    outputs = tmp_path / "out"
    code, _, stderr = run("predict", labels, outputs, "--weights", tiny_weights, "--device", "cpu")
    assert code == 1
    assert stderr.count("is a label map, no CT: all voxels are whole numbers from 0 to 14; name the folder") == 2
    assert stderr.splitlines()[-1] == "error: 2 of 2 cases failed, no label map was written"
    assert sorted(path.name for path in outputs.iterdir()) == list(REPORT)


def test_label_maps_beside_scans_are_left_out_with_a_line(
    tiny_weights: Path, scan: Volume, label_map: Volume, tmp_path: Path
) -> None:
    inputs = write_all(tmp_path / "in", ("a_0000.nii.gz", "b.nii.gz", "seg.nii.gz", "a_seg_0000.nii.gz"), scan)
    beside = ("a_labels.nii.gz", "a_label.nii", "a_seg.nii.gz", "A-label.nrrd", "a.seg.nrrd", "b_Labels.mha")
    for name in (*beside, "unknown_labels.nii.gz", "a.nii.gz"):
        write_volume(inputs / name, label_map)
    code, stdout, stderr = run("predict", inputs, tmp_path / "out", "--weights", tiny_weights, "--device", "cpu")
    assert (code, stdout.count("written in")) == (0, 4), stderr
    (line,) = stderr.splitlines()
    assert line.startswith(f"{inputs}: left out 8 label map(s) beside their scans: A-label.nrrd, a.nii.gz, a.seg.nrrd")
    names = {path.name for path in (tmp_path / "out").iterdir()} - set(REPORT)
    assert names == {"a.nii.gz", "a_seg.nii.gz", "b.nii.gz", "seg.nii.gz"}


def test_without_scans_beside_them_names_say_nothing(scan: Volume, tmp_path: Path) -> None:
    inputs = write_all(tmp_path / "in", ("a_labels.nii.gz", "b_seg.nii.gz", "c.nii.gz"), scan)
    assert set(find_cases(inputs).cases) == {"a_labels", "b_seg", "c"}
    assert find_cases(inputs).left_out == []


def test_two_scans_of_one_name_are_still_refused(scan: Volume, tmp_path: Path) -> None:
    found = find_cases(write_all(tmp_path / "in", ("a.nii.gz", "a_0000.nii.gz"), scan))
    assert (found.cases, found.left_out) == ({}, [])
    assert "a.nii.gz and a_0000.nii.gz are one case" in found.failures[0].reason


@pytest.mark.parametrize("name", ["seg.nii.gz", "seg.nii", "seg.mha", "seg.nrrd", "SEG.NII.GZ", "a_0000.nii.gz"])
def test_a_file_that_is_named_is_written(name: str, tiny_weights: Path, scan: Volume, tmp_path: Path) -> None:
    ct, seg = write_all(tmp_path / "in", ("ct.nii.gz",), scan) / "ct.nii.gz", tmp_path / "new" / "out" / name
    arguments = ("predict", ct, seg, "--weights", tiny_weights, "--device", "cpu")
    code, stdout, stderr = run(*arguments)
    assert (code, stderr) == (0, "")
    assert stdout.startswith(f"{seg}: written in ")
    assert sorted(path.name for path in seg.parent.iterdir()) == sorted([name, *REPORT])
    assert read_volume(seg).array_zyx.dtype == np.uint8
    assert read_volume(seg).shape == scan.shape
    (case,) = json.loads((seg.parent / "report.json").read_text(encoding="utf-8"))["cases"]
    assert (case["status"], case["image"]) == ("written", "ct.nii.gz")
    assert run(*arguments)[1] == f"{seg}: done before\n"


def test_a_named_file_is_what_a_folder_would_get(tiny_weights: Path, scan: Volume, tmp_path: Path) -> None:
    ct = write_all(tmp_path / "in", ("ct.nii.gz",), scan) / "ct.nii.gz"
    for outputs in (tmp_path / "one" / "seg.nii.gz", tmp_path / "two"):
        assert run("predict", ct, outputs, "--weights", tiny_weights, "--device", "cpu")[0] == 0
    assert (tmp_path / "one" / "seg.nii.gz").read_bytes() == (tmp_path / "two" / "ct.nii.gz").read_bytes()


def test_a_folder_goes_to_no_file(tiny_weights: Path, scan: Volume, tmp_path: Path) -> None:
    inputs = write_all(tmp_path / "in", ("ct.nii.gz",), scan)
    code, _, stderr = run("predict", inputs, tmp_path / "seg.nii.gz", "--weights", tiny_weights)
    assert (code, stderr.count("\n"), (tmp_path / "seg.nii.gz").exists()) == (2, 1, False)
    assert "seg.nii.gz: is named like a file" in stderr


def test_a_named_file_is_not_written_beside_its_scan(tiny_weights: Path, scan: Volume, tmp_path: Path) -> None:
    ct = write_all(tmp_path / "in", ("ct.nii.gz",), scan) / "ct.nii.gz"
    code, _, stderr = run("predict", ct, ct.with_name("seg.nii.gz"), "--weights", tiny_weights)
    assert (code, list(ct.parent.iterdir())) == (2, [ct])
    assert "nothing is ever written" in stderr


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("scans.zip", b"PK\3\4" + bytes(200), "unpack it"),
        ("scan.dcm", bytes(200), "is named like DICOM, but holds none"),
        ("scan.tar.gz", bytes(200), "is an archive; unpack it first"),
        ("scan.mhd", b"NDims = 3\n", "convert them to .nii.gz"),
    ],
)
def test_what_is_no_image_is_called_by_its_name(
    file: str, content: bytes, says: str, tiny_weights: Path, tmp_path: Path
) -> None:
    path = tmp_path / "in" / file
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    for inputs in (path, tmp_path / "in"):
        code, _, stderr = run("predict", inputs, tmp_path / "out", "--weights", tiny_weights)
        assert (code, stderr.count("\n")) == (2, 1)
        assert says in stderr
        assert path.name in stderr
        assert not (tmp_path / "out").exists()


def test_the_working_folder_is_called_by_its_own_name(
    tiny_weights: Path, scan: Volume, label_map: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_all(tmp_path / "study 7", ("a_0000.nii.gz",), scan)
    labels = write_all(tmp_path / "LABELS", ("b.nii.gz",), label_map)
    monkeypatch.chdir(folder)
    for inputs, outputs in (("a_0000.nii.gz", "o.nii.gz"), (labels / "b.nii.gz", "a.nii.gz")):
        code, _, stderr = run("predict", inputs, outputs, "--weights", tiny_weights, "--device", "cpu")
        assert (code, stderr.count("\n")) == (2, 1)
        assert f"{folder}: " in stderr
        assert " .: " not in stderr


@pytest.mark.parametrize("name", ["single.png", "one.JPG", "a.dcm", "study.zip", "report.json", "all.csv", "page.html"])
def test_a_file_of_another_kind_is_no_folder_for_label_maps(
    name: str, tiny_weights: Path, scan: Volume, tmp_path: Path
) -> None:
    scans = write_all(tmp_path / "CTS", ("a_0000.nii.gz",), scan)
    outputs = tmp_path / "out" / name
    code, _, stderr = run("predict", scans, outputs, "--weights", tiny_weights, "--device", "cpu")
    assert (code, stderr.count("\n")) == (2, 1)
    assert f"{outputs}: a label map is no {outputs.suffix} file" in stderr
    assert not outputs.parent.exists()
    outputs.mkdir(parents=True)  # who made such a folder means it
    assert run("predict", scans, outputs, "--weights", tiny_weights, "--device", "cpu")[0] == 0
