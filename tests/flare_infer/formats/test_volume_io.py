import errno
import os
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from flare_infer.errors import ImageError, UsageError
from flare_infer.formats.volume_io import case_name, find_images, read_volume, write_volume
from flare_infer.volume.volume import Placement, Volume, same_placement
from tests.hostile.nifti_file import nifti
from tests.tiny import LPS


@pytest.mark.parametrize(
    ("file", "case"),
    [
        ("FLARE23Ts_0001_0000.nii.gz", "FLARE23Ts_0001"),
        ("plain.nii.gz", "plain"),
        ("a.b_0000.mha", "a.b"),
        ("UPPER.NII.GZ", "UPPER"),
        ("x.nrrd", "x"),
        ("_0000.nii.gz", "_0000"),
    ],
)
def test_case_names(file: str, case: str) -> None:
    assert case_name(Path("/somewhere") / file) == case


def test_only_images_are_found_and_in_order(tmp_path: Path) -> None:
    for name in ("b_0000.nii.gz", "a.mha", "._a_0000.nii.gz", "notes.txt", "annotated.json"):
        (tmp_path / name).touch()
    assert list(find_images(tmp_path)) == ["a", "b"]


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="found nothing"):
        find_images(tmp_path / "missing")
    with pytest.raises(UsageError, match="no image found"):
        find_images(tmp_path)
    (tmp_path / "a.nii.gz").touch()
    (tmp_path / "a_0000.nii.gz").touch()
    with pytest.raises(UsageError, match="are one case, a"):
        find_images(tmp_path)
    with pytest.raises(UsageError, match="found a file"):
        find_images(tmp_path / "a.nii.gz")


def test_a_folder_that_may_not_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(UsageError, match=r"cannot be listed \(Permission denied\)"):
        find_images(tmp_path)


@pytest.mark.parametrize("ending", [".nii.gz", ".mha", ".nrrd"])
def test_a_volume_survives_its_file(tmp_path: Path, scan: Volume, ending: str) -> None:
    path = tmp_path / f"scan{ending}"
    write_volume(path, scan)
    again = read_volume(path)
    np.testing.assert_array_equal(again.array_zyx, scan.array_zyx)
    assert again.array_zyx.dtype == np.int16
    assert same_placement(again.placement, scan.placement)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_what_is_no_volume_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.nii.gz").write_text("no image")
    with pytest.raises(ImageError, match=r"text\.nii\.gz: not a readable image"):
        read_volume(tmp_path / "text.nii.gz")
    sitk.WriteImage(sitk.Image([4, 4, 4, 2], sitk.sitkInt16), str(tmp_path / "series.nii.gz"))
    with pytest.raises(ImageError, match=r"series\.nii\.gz: expected one scalar volume of 3 dim.*\(4, 4, 4, 2\)"):
        read_volume(tmp_path / "series.nii.gz")
    sitk.WriteImage(sitk.Image([4, 4, 4], sitk.sitkVectorUInt8, 3), str(tmp_path / "color.mha"))
    with pytest.raises(ImageError, match=r"3 channel"):
        read_volume(tmp_path / "color.mha")
    sitk.WriteImage(sitk.Image([4, 4, 4], sitk.sitkComplexFloat32), str(tmp_path / "k_space.nii.gz"))
    with pytest.raises(ImageError, match="values of type complex64"):
        read_volume(tmp_path / "k_space.nii.gz")
    with pytest.raises(ImageError, match="found nothing"):
        read_volume(tmp_path / "missing.nii.gz")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, scan: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "labels.nii.gz"
    path.write_bytes(b"old")

    def full_disk(image: object, name: str, **options: object) -> None:
        Path(name).write_bytes(b"half")
        raise RuntimeError("No space left on device")

    monkeypatch.setattr(sitk, "WriteImage", full_disk)
    with pytest.raises(ImageError, match="No space left"):
        write_volume(path, scan)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_missing_cannot_be_written_to(tmp_path: Path, scan: Volume) -> None:
    with pytest.raises(ImageError, match="cannot write here"):
        write_volume(tmp_path / "missing" / "x.nii.gz", scan)


def test_permissions_are_those_of_any_new_file(tmp_path: Path, scan: Volume) -> None:
    write_volume(tmp_path / "x.nii.gz", scan)
    (tmp_path / "y").touch()
    assert os.stat(tmp_path / "x.nii.gz").st_mode == os.stat(tmp_path / "y").st_mode


def without_scratch_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*, dir: str) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", full)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_scan_is_read_where_no_folder_takes_temporary_files(
    tmp_path: Path, scan: Volume, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    write_volume(tmp_path / f"scan{ending}", scan)
    without_scratch_folder(monkeypatch)
    again = read_volume(tmp_path / f"scan{ending}")
    np.testing.assert_array_equal(again.array_zyx, scan.array_zyx)
    assert same_placement(again.placement, scan.placement)


def test_only_axes_that_must_be_squared_up_need_a_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nifti(qform_code=0, srow_y=(0.005, -2, 0, -20))(tmp_path / "leaning.nii")
    assert read_volume(tmp_path / "leaning.nii").shape == (7, 13, 11)
    without_scratch_folder(monkeypatch)
    with pytest.raises(ImageError, match=r"no folder takes the file that helps \(Read-only file system\)"):
        read_volume(tmp_path / "leaning.nii")


def test_temporary_files_never_go_to_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def full(*, dir: str) -> None:
        asked.append(dir)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.chdir(tmp_path)
    nifti()(tmp_path / "scan.nii")
    monkeypatch.setattr(tempfile, "TemporaryDirectory", full)
    read_volume(tmp_path / "scan.nii")
    assert len(asked) == 3
    assert all(Path(place).is_absolute() for place in asked)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_a_file_that_grows_while_it_is_read_is_refused_until_it_is_whole(
    tmp_path: Path, scan: Volume, ending: str
) -> None:
    write_volume(tmp_path / f"whole{ending}", scan)
    whole = (tmp_path / f"whole{ending}").read_bytes()
    path = tmp_path / f"growing{ending}"
    path.touch()

    def grow() -> None:
        for at in range(0, len(whole), 97):
            with path.open("ab") as file:
                file.write(whole[at : at + 97])

    copying = threading.Thread(target=grow)
    copying.start()
    refusals, is_whole = [], False
    while not is_whole:
        is_whole = not copying.is_alive()
        refusals.append("")
        try:
            volume = read_volume(path)
        except ImageError as error:
            refusals[-1] = str(error)
        else:
            np.testing.assert_array_equal(volume.array_zyx, scan.array_zyx)
    assert refusals[-1] == ""
    assert all(refusal.startswith(f"{path}: ") for refusal in refusals if refusal)


def test_placements_agree_within_their_tolerances_only() -> None:
    here = Placement(spacing_mm=(2.5, 0.8, 0.8), origin_mm=(-10.0, 20.0, -300.0), axes=LPS)
    assert same_placement(here, replace(here, origin_mm=(-10.005, 20.0, -300.0)))
    assert same_placement(here, replace(here, spacing_mm=(2.5005, 0.8, 0.8)))
    for other in (
        replace(here, origin_mm=(-10.0, 20.0, -299.9)),
        replace(here, spacing_mm=(2.5, 0.8, 0.802)),
        replace(here, axes=((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0))),
        replace(here, axes=((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))),
    ):
        assert not same_placement(here, other)


@pytest.mark.parametrize("ending", [".nii.gz", ".mha"])
def test_a_file_is_exchanged_in_one_step_and_never_written_over(tmp_path: Path, scan: Volume, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    write_volume(path, scan)
    before = path.read_bytes()
    with path.open("rb") as old:
        write_volume(path, replace(scan, array_zyx=scan.array_zyx + 1))
        assert old.read() == before, "who reads the old file meanwhile reads all of it"
    assert path.read_bytes() != before
