"""A mask for each class, and what the names of files tell."""

import zlib
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the field's own alias

from flare_infer.errors import ImageError
from flare_infer.exports.dicom_seg import write_dicom_seg
from flare_infer.exports.masks import write_masks
from flare_infer.exports.rtstruct import write_rtstruct
from flare_infer.files.write_whole import NotWrittenError
from flare_infer.formats.volume_io import read_volume, write_sparse, write_volume
from flare_infer.labels import CODES, NAMES
from flare_infer.volume.volume import same_placement
from tests.dicom.series import PATIENT
from tests.flare_infer.exports.made import case, hard_labels


def test_each_class_has_a_mask_on_the_grid_of_the_scan(tmp_path: Path) -> None:
    made = case(tmp_path / "series")
    write_masks(tmp_path / "masks", made)
    files = sorted(path.name for path in (tmp_path / "masks").iterdir())
    assert files == sorted(f"{name.replace(' ', '_')}.nii.gz" for name in NAMES[1:])
    for code in CODES:
        path = tmp_path / "masks" / f"{NAMES[code].replace(' ', '_')}.nii.gz"
        mask = read_volume(path)
        assert mask.array_zyx.dtype == np.uint8
        np.testing.assert_array_equal(mask.array_zyx, hard_labels() == code)
        np.testing.assert_array_equal(np.asarray(nibabel.load(path).dataobj).T, hard_labels() == code)
        assert same_placement(mask.placement, made.scan.placement)


def test_masks_are_gzip_of_one_member_that_every_reader_reads(tmp_path: Path) -> None:
    """Planes of zeros are pieces that were compressed once: streams, sums and lengths must hold all the same."""
    labels = hard_labels()
    labels[2, 0, 0] = labels[3, -1, -1] = 7
    made = case(tmp_path / "series", labels=labels)
    write_masks(tmp_path / "masks", made, codes=[1, 5, 7, 9])
    written = tmp_path / "one.nii"
    for code in (1, 5, 7, 9):  # in most planes, in one, in two at other places, in none
        path = tmp_path / "masks" / f"{NAMES[code].replace(' ', '_')}.nii.gz"
        mask = np.asarray(labels == code, np.uint8)
        write_volume(written, replace(made.labels, array_zyx=mask))
        member = zlib.decompressobj(wbits=31)  # zlib's own gzip reader, which checks the sum and the length
        assert member.decompress(path.read_bytes()) == written.read_bytes()
        assert member.eof
        assert not member.unused_data
        image = sitk.ReadImage(str(path))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), mask)


def test_an_axis_too_long_for_nifti_is_refused(tmp_path: Path) -> None:
    placement = case(tmp_path / "series").labels.placement
    with pytest.raises(ImageError, match="an axis of 32768 voxels"):
        write_sparse(tmp_path / "long.nii.gz", placement, (1, 1, 32768), [None])
    assert [path.name for path in tmp_path.iterdir()] == ["series"]


def test_a_scan_from_an_image_file_has_masks_too(tmp_path: Path) -> None:
    write_masks(tmp_path / "masks", replace(case(tmp_path / "series"), source=None), codes=[1, 3])
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["liver.nii.gz", "spleen.nii.gz"]


def test_names_of_classes_never_lead_elsewhere(tmp_path: Path) -> None:
    names = ("background", "../a", "a", "A", "", "\x1b[1m" * 80)
    write_masks(tmp_path / "masks", case(tmp_path / "series", names=names))
    found = sorted(path.name for path in (tmp_path / "masks").iterdir())
    assert found == ["1m_" * 33 + "1.nii.gz", "4.nii.gz", "A_3.nii.gz", "a_1.nii.gz", "a_2.nii.gz"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["masks", "series"]


def test_what_cannot_be_written_leaves_the_earlier_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = case(tmp_path / "series")
    write_masks(tmp_path / "masks", made, codes=[3])

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("flare_infer.exports.masks.write_sparse", full)
    with pytest.raises(NotWrittenError):
        write_masks(tmp_path / "masks", made, codes=[1])
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["spleen.nii.gz"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["masks", "series"]


def test_no_name_of_a_file_and_no_mask_tells_who_the_patient_is(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    made = case(tmp_path / "series")
    write_masks(out / made.name, made)
    write_dicom_seg(out / f"{made.name}.seg.dcm", made)
    write_rtstruct(out / f"{made.name}.rtstruct.dcm", made)
    for path in out.rglob("*"):
        content = read_volume(path).array_zyx.tobytes() if path.suffix == ".gz" else b""
        for word in (*PATIENT, "20210203", made.source.uid if made.source else ""):
            assert word not in str(path.relative_to(out))
            assert word.encode() not in content
            if path.suffix == ".gz":
                assert word.encode() not in path.read_bytes()
