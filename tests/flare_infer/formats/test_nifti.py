"""Our reading and writing of NIfTI voxels, judged by SimpleITK: identical arrays, geometry and bytes."""

import gzip
import io
import os
import struct
import tracemalloc
from itertools import pairwise, permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st

from flare_infer.errors import ImageError
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.volume.volume import Placement, Volume, same_placement
from tests.real_data import real_data
from tests.tiny import LPS

TYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")


def noise(dtype: str, shape: tuple[int, int, int] = (5, 6, 7)) -> npt.NDArray[Any]:
    """Numbers over the whole range of a type."""
    return np.random.default_rng(1).integers(-(2**62), 2**62, shape).astype(dtype)


def stored(path: Path, array_zyx: npt.NDArray[Any], *, order: str = "<", **fields: Any) -> Path:
    """A file written by nibabel, with header fields of our choice."""
    affine = fields.pop("affine", np.diag([-1.5, -2.0, 3.0, 1.0]))
    header = nib.Nifti1Header(endianness=order)
    header.set_data_dtype(array_zyx.dtype)
    image = nib.Nifti1Image(array_zyx.T, affine, header)
    image.set_qform(affine, code=int(fields.pop("qform_code", 1)))
    image.set_sform(affine, code=int(fields.pop("sform_code", 1)))
    for name, value in fields.items():
        image.header[name] = value
    image.to_filename(path)
    return path


def patched(path: Path, at: int, content: bytes) -> Path:
    """The same file with other bytes at a place of its header."""
    packed = path.name.endswith(".gz")
    raw = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    raw[at : at + len(content)] = content
    path.write_bytes(gzip.compress(raw, 1) if packed else raw)
    return path


def assert_as_itk_reads(path: Path) -> Volume:
    image = sitk.ReadImage(str(path))
    volume = read_volume(path)
    expected = sitk.GetArrayFromImage(image)
    assert volume.array_zyx.dtype == expected.dtype
    assert volume.array_zyx.dtype.isnative
    np.testing.assert_array_equal(volume.array_zyx, expected)
    assert volume.placement.spacing_mm == image.GetSpacing()[::-1]
    assert volume.placement.origin_mm == image.GetOrigin()
    assert np.asarray(volume.placement.axes)[::-1].T.ravel().tolist() == list(image.GetDirection())
    return volume


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", TYPES)
def test_every_type_in_both_byte_orders(tmp_path: Path, dtype: str, order: str, ending: str) -> None:
    path = stored(tmp_path / f"a{ending}", noise(dtype), order=order)
    volume = assert_as_itk_reads(path)
    np.testing.assert_array_equal(volume.array_zyx, noise(dtype))
    assert volume.array_zyx.flags.writeable


@pytest.mark.parametrize(("order", "flips"), list(product(permutations(range(3)), product((False, True), repeat=3))))
def test_every_orientation(tmp_path: Path, order: tuple[int, ...], flips: tuple[bool, ...]) -> None:
    image = sitk.GetImageFromArray(noise("int16"))
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-11.25, 40.5, -301.0))
    image = sitk.Flip(sitk.PermuteAxes(image, order), flips)
    sitk.WriteImage(image, str(tmp_path / "a.nii.gz"))
    volume = assert_as_itk_reads(tmp_path / "a.nii.gz")
    write_volume(tmp_path / "b.nii.gz", volume)
    again = sitk.GetImageFromArray(volume.array_zyx)
    again.CopyInformation(sitk.ReadImage(str(tmp_path / "a.nii.gz")))
    sitk.WriteImage(again, str(tmp_path / "c.nii"))
    assert gzip.decompress((tmp_path / "b.nii.gz").read_bytes()) == (tmp_path / "c.nii").read_bytes()


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32", "float64"])
@pytest.mark.parametrize(
    ("slope", "intercept"), [(0, 0), (0, 5), (1, 0), (1, -1024), (2, 0), (0.5, 3), (-1, 0), (np.nan, 0), (2, np.inf)]
)
def test_scaled_values_are_those_of_itk(tmp_path: Path, dtype: str, slope: float, intercept: float) -> None:
    path = stored(tmp_path / "a.nii.gz", noise(dtype))
    assert_as_itk_reads(patched(path, 112, struct.pack("<2f", slope, intercept)))


def test_a_fourth_axis_of_one_volume_is_no_axis(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.nii.gz", noise("int16"))
    assert_as_itk_reads(patched(path, 40, struct.pack("<6h", 5, 7, 6, 5, 1, 1)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_that_are_no_numbers_are_kept(tmp_path: Path, dtype: str) -> None:
    array = noise(dtype)
    array[0, 0, :3] = [np.nan, np.inf, -np.inf]
    read = read_volume(stored(tmp_path / "a.nii.gz", array)).array_zyx
    np.testing.assert_array_equal(read, array)


def test_extensions_and_a_long_way_to_the_voxels(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.nii", noise("int16"))
    raw = path.read_bytes()
    extension = struct.pack("<4B2i", 1, 0, 0, 0, 160, 6) + b"a comment".ljust(152)
    packed = raw[:108] + struct.pack("<f", 348 + len(extension)) + raw[112:348] + extension + raw[352:]
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(packed))
    np.testing.assert_array_equal(assert_as_itk_reads(tmp_path / "b.nii.gz").array_zyx, noise("int16"))


def test_several_gzip_members_and_zeros_behind_them(tmp_path: Path) -> None:
    raw = stored(tmp_path / "a.nii", noise("int16")).read_bytes()
    cuts = [0, 100, 348, 500, len(raw)]
    members = [gzip.compress(raw[start:end]) for start, end in pairwise(cuts)]
    (tmp_path / "b.nii.gz").write_bytes(b"".join(members) + bytes(1000))
    np.testing.assert_array_equal(read_volume(tmp_path / "b.nii.gz").array_zyx, noise("int16"))


def test_what_is_behind_the_voxels_is_passed_over(tmp_path: Path) -> None:
    raw = stored(tmp_path / "a.nii", noise("int16")).read_bytes() + bytes(range(200))
    (tmp_path / "b.nii").write_bytes(raw)
    (tmp_path / "c.nii.gz").write_bytes(gzip.compress(raw))
    assert_as_itk_reads(tmp_path / "b.nii")
    assert_as_itk_reads(tmp_path / "c.nii.gz")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_a_header_says_itk_decides(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("drawn")
    lengths = data.draw(st.tuples(*[st.integers(2, 6)] * 3), "lengths")
    dtype = data.draw(st.sampled_from(TYPES), "type")
    angles = data.draw(st.tuples(*[st.floats(-3, 3)] * 3), "angles")
    spacing = data.draw(st.tuples(*[st.floats(0.1, 10)] * 3), "spacing")
    flip = data.draw(st.sampled_from([-1.0, 1.0]), "flip")
    affine = np.eye(4)
    affine[:3, :3] = rotation(*angles) @ np.diag([spacing[0], spacing[1], flip * spacing[2]])
    affine[:3, 3] = data.draw(st.tuples(*[st.floats(-500, 500)] * 3), "origin")
    path = stored(
        folder / data.draw(st.sampled_from(["a.nii", "a.nii.gz"]), "name"),
        noise(dtype, lengths),
        order=(order := data.draw(st.sampled_from("<>"), "order")),
        affine=affine,
        qform_code=data.draw(st.integers(0, 4), "qform"),
        sform_code=data.draw(st.integers(0, 4), "sform"),
        xyzt_units=data.draw(st.sampled_from([0, 2, 10]), "units"),
        cal_max=data.draw(st.floats(-100, 100, width=32), "cal_max"),
    )
    intent = data.draw(st.sampled_from([0, 0, 0, 3, 1001, 1002]), "intent")
    patched(path, 68, struct.pack(f"{order}h", intent))
    assert_as_itk_reads(path)


def rotation(a: float, b: float, c: float) -> npt.NDArray[np.float64]:
    turns = []
    for axis, angle in enumerate((a, b, c)):
        one, two = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[[one, one, two, two], [one, two, one, two]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        turns.append(turn)
    return np.asarray(turns[0] @ turns[1] @ turns[2])


@pytest.fixture(scope="module")
def whole() -> bytes:
    """A compressed file whose voxels cannot be shrunk much."""
    buffer = io.BytesIO()
    image = nib.Nifti1Image(noise("int16", (20, 30, 40)).T, np.eye(4))
    image.to_stream(buffer)
    return gzip.compress(buffer.getvalue())


def refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(ImageError) as caught:
        read_volume(path)
    says = str(caught.value)
    assert says.startswith(f"{path}: ")
    assert "\n" not in says
    return says


@settings(max_examples=40, deadline=None)
@given(kept=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_refused(tmp_path_factory: pytest.TempPathFactory, whole: bytes, kept: float) -> None:
    refusal(tmp_path_factory.mktemp("cut") / "a.nii.gz", whole[: int(kept * len(whole))])


def test_a_file_cut_in_its_voxels_says_so(tmp_path: Path, whole: bytes) -> None:
    assert "the file is cut short" in refusal(tmp_path / "a.nii.gz", whole[: len(whole) // 2])
    raw = gzip.decompress(whole)
    says = refusal(tmp_path / "a.nii", raw[:-1])
    assert "expected 48352 bytes (40 x 30 x 20 voxels by its header), found 48351" in says
    assert "expected 48352 bytes" in refusal(tmp_path / "b.nii.gz", gzip.compress(raw[:-1]))


@settings(max_examples=40, deadline=None)
@given(place=st.floats(0.02, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_changed_bit_never_passes_unseen(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, place: float, bit: int
) -> None:
    damaged = bytearray(whole)
    damaged[int(place * len(whole))] ^= 1 << bit
    refusal(tmp_path_factory.mktemp("bit") / "a.nii.gz", bytes(damaged))


def test_a_wrong_checksum_and_garbage_behind_are_damage(tmp_path: Path, whole: bytes) -> None:
    checksum = bytearray(whole)
    checksum[-8] ^= 1
    assert "the compressed data is damaged (CRC check failed" in refusal(tmp_path / "a.nii.gz", bytes(checksum))
    assert "the compressed data is damaged" in refusal(tmp_path / "b.nii.gz", whole + b"garbage of any length")
    refusal(tmp_path / "b.nii.gz", whole + b"short")
    tiny = bytearray(stored(tmp_path / "c.nii.gz", noise("int16")).read_bytes())
    tiny[-8] ^= 1
    assert "the compressed data is damaged (CRC check failed" in refusal(tmp_path / "c.nii.gz", bytes(tiny))


def test_the_checksum_of_a_large_file_is_read_to_its_end(tmp_path: Path) -> None:
    """Larger than what any reader takes in at once, so that its end is not seen by the way."""
    path = stored(tmp_path / "a.nii.gz", noise("int16", (40, 256, 256)))
    content = bytearray(path.read_bytes())
    assert len(content) > 4e6
    content[-8] ^= 1
    assert "the compressed data is damaged (CRC check failed" in refusal(path, bytes(content))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("slope", [1.0, 2.0])
def test_absurd_sizes_are_refused_before_memory_is_taken(tmp_path: Path, ending: str, slope: float) -> None:
    path = stored(tmp_path / f"a{ending}", noise("int16"))
    patched(path, 40, struct.pack("<4h", 3, 32000, 32000, 3000))
    patched(path, 112, struct.pack("<2f", slope, 0))
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match=r"expected 6144000000352 bytes \(32000 x 32000 x 3000 voxels .*found 772"):
            read_volume(path)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_a_length_that_was_forged_does_not_help(tmp_path: Path) -> None:
    """The length at the end of a gzip file is no proof, and what it hides is found while reading."""
    path = patched(stored(tmp_path / "a.nii.gz", noise("int16", (2, 3, 4))), 40, struct.pack("<4h", 3, 400, 100, 2))
    content = path.read_bytes()[:-4] + (352 + 400 * 100 * 2 * 2).to_bytes(4, "little")
    assert "damaged" in refusal(path, content)


@pytest.mark.parametrize("number", [-1, 0])
@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_lengths_that_are_none(tmp_path: Path, axis: int, number: int) -> None:
    path = patched(stored(tmp_path / "a.nii.gz", noise("int16")), 40 + 2 * axis, struct.pack("<h", number))
    with pytest.raises(ImageError, match="the header is damaged"):  # ITK takes some for one
        read_volume(path)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stored(tmp_path / "a.nii.gz", noise("int16"))

    def denied(self: Path, mode: str = "r") -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(ImageError, match=r"a\.nii\.gz: cannot be read \(Permission denied\)"):
        read_volume(path)


def sheared(path: Path, degrees: float, ending: str = ".nii.gz", **fields: Any) -> Path:
    """The y axis leans toward x by an angle; the header's quaternion does not say where the axes are."""
    affine = np.diag([-1.5, -2.0, 3.0, 1.0])
    affine[:2, 1] = -2.0 * np.sin(np.radians(degrees)), -2.0 * np.cos(np.radians(degrees))
    return stored(path / f"a{ending}", noise("int16"), affine=affine, qform_code=0, **fields)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_small_shear_is_squared_up(tmp_path: Path, ending: str, order: str) -> None:
    path = sheared(tmp_path, 0.3, ending, order=order)
    with pytest.raises(RuntimeError, match="orthonormal"):
        sitk.ReadImage(str(path))
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array_zyx, noise("int16"))
    axes = np.asarray(volume.placement.axes)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-6)
    half = np.radians(0.15)  # the two axes share the correction
    expected = ((0, 0, 1), (np.sin(half), np.cos(half), 0), (np.cos(half), np.sin(half), 0))
    np.testing.assert_allclose(np.abs(axes), expected, atol=1e-6)
    np.testing.assert_allclose(volume.placement.spacing_mm, (3.0, 2.0, 1.5), rtol=1e-6)
    write_volume(tmp_path / "again.nii.gz", volume)
    assert same_placement(read_volume(tmp_path / "again.nii.gz").placement, volume.placement)


def test_large_shear_is_refused_with_its_angle(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"a\.nii\.gz: the axes miss right angles by 15 degrees \(a tilted gantry\?\)"):
        read_volume(sheared(tmp_path, 15))
    with pytest.raises(ImageError, match=r"at most 0\.5 can be taken for rounding"):
        read_volume(sheared(tmp_path, 0.6))


def test_small_shear_of_scaled_values(tmp_path: Path) -> None:
    path = patched(sheared(tmp_path, 0.3), 112, struct.pack("<2f", 2.0, 1.0))
    np.testing.assert_array_equal(read_volume(path).array_zyx, noise("int16") * np.float32(2) + np.float32(1))


def test_shear_in_a_format_that_itk_does_not_check(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.mha", Volume(array_zyx=noise("int16"), placement=leaning(0.3)))
    axes = np.asarray(read_volume(tmp_path / "a.mha").placement.axes)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-9)
    write_volume(tmp_path / "b.mha", Volume(array_zyx=noise("int16"), placement=leaning(15)))
    with pytest.raises(ImageError, match="15 degrees"):
        read_volume(tmp_path / "b.mha")


def leaning(degrees: float) -> Placement:
    angle = np.radians(degrees)
    axes = ((0.0, 0.0, 1.0), (float(np.sin(angle)), float(np.cos(angle)), 0.0), (1.0, 0.0, 0.0))
    return Placement(spacing_mm=(3.0, 2.0, 1.5), origin_mm=(0.0, 0.0, 0.0), axes=axes)


def written_by_itk(path: Path, volume: Volume) -> bytes:
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array_zyx))
    image.SetSpacing(volume.placement.spacing_mm[::-1])
    image.SetOrigin(volume.placement.origin_mm)
    image.SetDirection(np.asarray(volume.placement.axes)[::-1].T.ravel().tolist())
    sitk.WriteImage(image, str(path))
    return path.read_bytes()


@pytest.mark.parametrize("dtype", TYPES)
def test_what_is_written_is_what_itk_writes(tmp_path: Path, dtype: str) -> None:
    placement = Placement(spacing_mm=(2.5, 0.7, 0.8), origin_mm=(-3.5, 12.25, -700.0), axes=LPS)
    volume = Volume(array_zyx=noise(dtype, (9, 31, 27)), placement=placement)
    write_volume(tmp_path / "a.nii.gz", volume)
    expected = written_by_itk(tmp_path / "b.nii", volume)
    assert gzip.decompress((tmp_path / "a.nii.gz").read_bytes()) == expected
    read = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read), volume.array_zyx)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 1), (7, 1, 1), (1, 1, 4), (2, 300, 2), (600, 2, 2)])
def test_odd_shapes_are_written_as_itk_writes_them(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    volume = Volume(array_zyx=noise("uint8", shape), placement=leaning(0))
    write_volume(tmp_path / "a.nii.gz", volume)
    assert gzip.decompress((tmp_path / "a.nii.gz").read_bytes()) == written_by_itk(tmp_path / "b.nii", volume)


def test_views_are_written_as_their_copies(tmp_path: Path) -> None:
    base = noise("int16", (9, 31, 27))
    for name, view in (("turned", base.transpose(2, 0, 1)[::-1, :, ::-1]), ("big", base.astype(">i2"))):
        write_volume(tmp_path / f"{name}.nii.gz", Volume(array_zyx=view, placement=leaning(0)))
        np.testing.assert_array_equal(read_volume(tmp_path / f"{name}.nii.gz").array_zyx, view)


def test_the_same_labels_give_the_same_file(tmp_path: Path) -> None:
    volume = Volume(array_zyx=noise("uint8"), placement=leaning(0))
    for name in ("a", "b"):
        write_volume(tmp_path / f"{name}.nii.gz", volume)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_a_disk_that_fills_up_while_compressing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ImageError, match="No space left"):
        write_volume(path, Volume(array_zyx=noise("uint8"), placement=leaning(0)))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


REAL = ("ct/lidc_chest_0000", "ct/chaos1_labels", "ct/hcc006_p3_0000", "ct/lits117_crop_0000")


@pytest.mark.parametrize("name", REAL)
def test_real_files(tmp_path: Path, name: str) -> None:
    volume = assert_as_itk_reads(real_data() / f"{name}.nii.gz")
    write_volume(tmp_path / "a.nii.gz", volume)
    assert gzip.decompress((tmp_path / "a.nii.gz").read_bytes()) == written_by_itk(tmp_path / "b.nii", volume)


@pytest.mark.slow
def test_every_real_file() -> None:
    paths = sorted(real_data().rglob("*.nii.gz"))
    assert len(paths) > 20
    for path in paths:
        assert_as_itk_reads(path)
