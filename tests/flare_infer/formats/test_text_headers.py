"""MetaImage and NRRD with the tags of DICOM, and with axes beyond the third of one voxel: as ITK reads them."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from flare_infer.errors import ImageError
from flare_infer.formats.volume_io import read_volume
from flare_infer.formats.voxel_block import LONGEST_TEXT
from tests.hostile.nifti_file import nifti
from tests.hostile.text_formats import nrrd

DOMAINS = "domain domain domain"
NOWHERE = ("space_directions", "space", "space_origin", "kinds")


def image(seed: int = 0) -> sitk.Image:
    made = sitk.GetImageFromArray(np.random.default_rng(seed).integers(-1000, 500, (5, 4, 3)).astype(np.int16))
    made.SetSpacing((1.5, 2.0, 3.0))
    made.SetOrigin((-30.0, 20.0, -700.0))
    made.SetDirection((0.0, 1.0, 0.0, 0.0, 0.0, -1.0, -1.0, 0.0, 0.0))
    return made


def assert_as_itk(path: Path, expected: sitk.Image) -> None:
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array_zyx, sitk.GetArrayFromImage(expected))
    np.testing.assert_allclose(volume.placement.spacing_mm[::-1], expected.GetSpacing())
    np.testing.assert_allclose(volume.placement.origin_mm, expected.GetOrigin())
    np.testing.assert_allclose(np.array(volume.placement.axes)[::-1].T.ravel(), expected.GetDirection())


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
@pytest.mark.parametrize("tags", [1, 100, 3000])
def test_the_tags_of_dicom_are_passed_over(tmp_path: Path, tags: int, ending: str, compressed: bool) -> None:
    """3000 tags are a header of 640 KB."""
    made = image()
    for tag in range(tags):
        made.SetMetaData(f"0010|{tag:04}", "x: y = z " * 22)
    path = tmp_path / f"scan{ending}"
    sitk.WriteImage(made, str(path), useCompression=compressed)
    assert tags < 3000 or path.stat().st_size > 2**16
    assert_as_itk(path, sitk.ReadImage(str(path)))


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
@pytest.mark.parametrize("further", [(1,), (1, 1)])
def test_further_axes_of_one_voxel_are_none(tmp_path: Path, ending: str, further: tuple[int, ...]) -> None:
    flat, path = image(), tmp_path / f"scan{ending}"
    made = flat
    for _ in further:
        made = sitk.JoinSeries([made])
    sitk.WriteImage(made, str(path))
    assert sitk.ReadImage(str(path)).GetSize() == (3, 4, 5, *further)
    assert_as_itk(path, flat)


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_several_frames_are_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"scan{ending}"
    sitk.WriteImage(sitk.JoinSeries([image(), image(1)]), str(path))
    with pytest.raises(ImageError, match=r"found 4 dimensions \(3 4 5 2\); extract one volume first"):
        read_volume(path)


@pytest.mark.parametrize(
    "fields",
    [
        {
            "sizes": "11 13 7 1",
            "space_directions": "(1.5,0,0) (0,2,0) (0,0,3) none",
            "kinds": "domain domain domain list",
        },
        {
            "sizes": "1 11 13 7",
            "space_directions": "none (1.5,0,0) (0,2,0) (0,0,3)",
            "kinds": "list domain domain domain",
        },
        {
            "sizes": "11 1 13 7",
            "space_directions": "(1.5,0,0) none (0,2,0) (0,0,3)",
            "kinds": "domain vector domain domain",
        },
        {
            "sizes": "11 13 7 1",
            "space_directions": "",
            "spacings": "1.5 2 3 1",
            "space": "",
            "space_origin": "",
            "kinds": "",
        },
    ],
)
def test_an_nrrd_axis_of_one_voxel_is_none_wherever_it_stands(tmp_path: Path, fields: dict[str, str]) -> None:
    path = tmp_path / "scan.nrrd"
    nrrd(dimension="4", **fields)(path)
    try:
        expected = sitk.ReadImage(str(path))
    except RuntimeError:  # ITK reads such an axis at the ends only
        nrrd()(tmp_path / "plain.nrrd")
        expected = sitk.ReadImage(str(tmp_path / "plain.nrrd"))
    if expected.GetDimension() == 4:
        expected = expected[:, :, :, 0]
    assert_as_itk(path, expected)


@pytest.mark.parametrize("fields", [{"dimension": "4", "sizes": "11 13 1 7"}, {"dimension": "3", "sizes": "11 13 7 1"}])
def test_axes_that_are_no_volume_are_refused(tmp_path: Path, fields: dict[str, str]) -> None:
    nrrd(**fields)(tmp_path / "scan.nrrd")
    with pytest.raises(ImageError, match=r"found 4 dimensions|expected three numbers as sizes"):
        read_volume(tmp_path / "scan.nrrd")


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_a_header_without_an_end_is_given_up(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"scan{ending}"
    begin = b"NDims = 3\n" if ending == ".mha" else b"NRRD0004\n"
    for filling in (b"Key: = value\n", b"x"):
        path.write_bytes(begin + filling * (LONGEST_TEXT // len(filling) + 1))
        with pytest.raises(ImageError, match="a header of more than 16 MiB; convert it without its tags"):
            read_volume(path)


@pytest.mark.parametrize(
    "dim",
    [
        *(
            (4, 11, 13, 7, 0, 1, 1, 1),
            (4, 11, 13, 7, -1, 1, 1, 1),
            (5, 11, 13, 7, 0, 0, 0, 0),
            (5, 11, 13, 7, 1, 0, 1, 1),
        ),
        *((7, 11, 13, 7, 1, 1, 1, 0), (7, 11, 13, 7, 0, 0, 0, 0)),
    ],
)
def test_a_nifti_axis_of_zero_voxels_is_one_of_one(tmp_path: Path, dim: tuple[int, ...]) -> None:
    path = tmp_path / "scan.nii"
    nifti(dim=dim)(path)
    assert_as_itk(path, sitk.ReadImage(str(path)))


SPACING = {"pixdim": (1, 1, 1, 1, 0, 0, 0, 0)}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (SPACING, "two spacings: 1 x 1 x 1 by pixdim, which is taken as ITK does, 1.5 x 2 x 3 by the sform"),
        (
            {"pixdim": (1, 1.5, 2, 2.9, 0, 0, 0, 0)},
            "1.5 x 2 x 2.9 by pixdim, which is taken as ITK does, 1.5 x 2 x 3 by",
        ),
        ({**SPACING, "qform_code": 0}, "two spacings"),
        ({"srow_x": (1.5, 0, 0, -80)}, "qform and sform turn the patient differently, by up to 180 degrees"),
        ({"qform": (0, 0, 0, 30, -20, -700)}, "by up to 180 degrees"),
        ({"pixdim": (-1, 1.5, 2, 3, 0, 0, 0, 0)}, "by up to 180 degrees"),
        ({"srow_x": (-1.5, 0.105, 0, 30)}, "by up to 3"),
        ({"qform_code": 0, "sform_code": 0}, "does not say how the patient lies"),
    ],
)
def test_a_header_that_says_two_things_is_told(tmp_path: Path, fields: dict[str, object], says: str) -> None:
    nifti(**fields)(tmp_path / "scan.nii")
    (doubt,) = read_volume(tmp_path / "scan.nii").doubts
    assert says in doubt


@pytest.mark.parametrize(
    "fields",
    [
        *({}, {"sform_code": 0}, {"sform_code": 0, **SPACING}, {"qform_code": 0}),
        *({"pixdim": (1, 1.5, 2, 2.98, 0, 0, 0, 0)}, {"srow_x": (-1.5, 0.03, 0, 30)}),
        {"qform": (0, 0, -1, 30, -20, -700)},  # the same turn
    ],
)
def test_a_header_that_says_one_thing_is_not(tmp_path: Path, fields: dict[str, object]) -> None:
    nifti(**fields)(tmp_path / "scan.nii")
    assert read_volume(tmp_path / "scan.nii").doubts == ()


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
@pytest.mark.parametrize(("said", "told"), [("2.5", True), ("-2.5", True), ("0.01", False), ("0", False), ("x", False)])
def test_slices_that_are_not_equally_spaced(tmp_path: Path, ending: str, said: str, told: bool) -> None:
    made, path = image(), tmp_path / f"scan{ending}"
    made.SetMetaData("ITK_non_uniform_sampling_deviation", said)
    sitk.WriteImage(made, str(path))
    doubts = read_volume(path).doubts
    assert len(doubts) == told
    assert not told or "not equally spaced: up to 2.5 mm off" in doubts[0]


@pytest.mark.parametrize("ending", [".nii", ".mha", ".nrrd"])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_one_or_two_slices_are_a_scout(tmp_path: Path, ending: str, axis: int, count: int) -> None:
    shape = [5, 5, 5]
    shape[axis] = count
    path = tmp_path / f"scan{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(np.full(shape, -1000, np.int16)), str(path))
    doubts = read_volume(path).doubts
    assert len(doubts) == (count < 3)
    assert count == 3 or f"only {count} voxel(s) along an axis" in doubts[0]
