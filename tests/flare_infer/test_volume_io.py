import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from flare_infer.errors import ImageError, UsageError
from flare_infer.volume import Volume, same_placement
from flare_infer.volume_io import case_name, find_images, read_volume, write_volume


@pytest.mark.parametrize(
    ("file", "case"),
    [
        ("FLARE23Ts_0001_0000.nii.gz", "FLARE23Ts_0001"),
        ("plain.nii.gz", "plain"),
        ("a.b_0000.mha", "a.b"),
        ("UPPER.NII.GZ", "UPPER"),
        ("x.nrrd", "x"),
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
