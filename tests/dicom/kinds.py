"""Kinds of DICOM inputs, what each must become, and what SimpleITK's own reader makes of it."""

import io
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

from tests.dicom.series import ROOT, Made, header, phantom, save, store, with_changes, write, write_enhanced

TURNED = (*(np.cos(0.3), np.sin(0.3), 0.0), *(-np.sin(0.3) * np.cos(0.2), np.cos(0.3) * np.cos(0.2), np.sin(0.2)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Kind:
    """One kind of input.

    Attributes:
        sentence: what it is.
        write: writes it into a folder and returns what is given to the command.
        truths: series whose voxels and places the cases must have, in order.
        words: words of the line that refuses or leaves out, or of a notice.
        fill_gaps: whether that option is given.
    """

    sentence: str
    write: Callable[[Path], Path]
    truths: Sequence[Made] = ()
    words: str = ""
    fill_gaps: bool = False


def _series(*series: Made, leave: Sequence[int] = ()) -> Callable[[Path], Path]:
    def write_all(folder: Path) -> Path:
        for number, made in enumerate(series):
            write(folder / str(number), made, leave)
        return folder

    return write_all


def _changed(sentence: str, change: Callable[[Dataset, int], None], *, words: str = "", right: bool = False) -> Kind:
    made = with_changes(Made(), change)
    return Kind(sentence=sentence, write=_series(made), truths=(made,) if right else (), words=words)


def _seen(axes: tuple[float, ...]) -> Made:
    return Made(axes=tuple(map(float, axes)))


def _compressor(name: str) -> Callable[[Dataset, int], None]:
    def compress(ds: Dataset, index: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/a.dcm"
            writer = sitk.ImageFileWriter()
            writer.SetImageIO("GDCMImageIO")
            writer.SetUseCompression(True)
            writer.SetCompressor(name)
            writer.SetFileName(path)
            writer.Execute(sitk.GetImageFromArray(ds.pixel_array.astype(np.int16)[None]))
            packed = pydicom.dcmread(path)
        for word in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
            setattr(ds, word, packed[word].value)
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
        ds.file_meta.TransferSyntaxUID = packed.file_meta.TransferSyntaxUID

    return compress


def _rle(ds: Dataset, index: int) -> None:
    ds.compress(RLELossless, encoding_plugin="pydicom")


def _deflated(ds: Dataset, index: int) -> None:
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian


def _big_endian(ds: Dataset, index: int) -> None:
    store(ds, ds.pixel_array.astype(">u2"))
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian


def _implicit(ds: Dataset, index: int) -> None:
    """Corners hold padding as bright as metal, whose type is then nowhere in the file."""
    _signed(ds, index)
    stored = ds.pixel_array.copy()
    stored[:3, :3] = 3000
    store(ds, stored)
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    ds.add_new("PixelPaddingValue", "SS", 3000)


def _with_loss() -> Made:
    """8 bits a pixel, of which JPEG changes some; the truth is what another decoder makes of them."""
    slope, packed, values = 8, [], []
    for plane in phantom():
        file = io.BytesIO()
        Image.fromarray(np.rint((plane + 1024) / slope).astype(np.uint8)).save(file, "JPEG", quality=90)
        packed.append(file.getvalue())
        values.append(np.asarray(Image.open(file)).astype(np.int16) * slope - 1024)

    def change(ds: Dataset, index: int) -> None:
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
        ds.LossyImageCompression = "01"
        ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        ds.PixelData = encapsulate([packed[index]])
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True

    return Made(array_zyx=np.stack(values), slope=slope, change=change)


def _undecodable(ds: Dataset, index: int) -> None:
    ds.file_meta.TransferSyntaxUID = HTJ2KLossless
    ds.PixelData = encapsulate([ds.PixelData])


def _signed(ds: Dataset, index: int) -> None:
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation, ds.RescaleIntercept = 16, 15, 1, 0
    store(ds, (ds.pixel_array.astype(np.int16) - 1024).astype(np.int16))


def _rescaled(ds: Dataset, index: int) -> None:
    """Every other slice is stored with another slope and intercept."""
    if index % 2:
        values = ds.pixel_array.astype(np.int32) - 1024
        ds.RescaleIntercept = -2000
        store(ds, (values + 2000).astype(np.uint16))


def _padding_of_16_bits(ds: Dataset, index: int) -> None:
    """Corners hold -2000 in 16 bits, of which 12 are said to be used: read as these, it is bone."""
    stored = ds.pixel_array.copy()
    stored[:3, :3] = 63536
    store(ds, stored)
    ds.add_new("PixelPaddingValue", "US", 63536)


def _bright() -> Made:
    array = phantom().astype(np.int32)
    array[5, 10, 12] = 50_000

    def change(ds: Dataset, index: int) -> None:
        ds.BitsStored, ds.HighBit = 16, 15

    return Made(array_zyx=array, change=change)


def _padded(change: Callable[[Dataset, int], None]) -> Made:
    array = phantom()
    array[:, :3, :3] = -1024
    return with_changes(Made(array_zyx=array), change)


def _phases(change: Callable[[Dataset], None], shift: float = 0.0) -> tuple[Made, Made]:
    """Two volumes of one series, told apart by what `change` makes of the second."""

    def second(ds: Dataset, index: int) -> None:
        ds.SOPInstanceUID += ".2"
        change(ds)

    one = Made()
    other = Made(array_zyx=phantom(seed=7), origin=(-100.0, -80.0, -300.0 + shift), change=second)
    return one, other


def _acquisition(ds: Dataset) -> None:
    ds.AcquisitionNumber = 2


def _kernel(ds: Dataset) -> None:
    ds.ConvolutionKernel = "B60f"


def _with_duplicate(folder: Path) -> Path:
    made = Made()
    again = header(made, 3)
    again.SOPInstanceUID += ".7"
    save(again, folder / "again.dcm")
    return write(folder, made)


def _with_conflict(folder: Path) -> Path:
    save(header(Made(array_zyx=phantom(seed=3)), 3), folder / "again.dcm")
    return write(folder, Made())


def _unequal(folder: Path) -> Path:
    def change(ds: Dataset, index: int) -> None:
        ds.ImagePositionPatient = [-100, -80, -300 + 2.5 * index + max(0, index - 6) * 1.1]

    return write(folder, Made(change=change))


def _other(name: str, **values: object) -> Callable[[Path], None]:
    def write_one(folder: Path) -> None:
        ds = header(Made(uid=ROOT + name, array_zyx=phantom((1, 20, 24))), 0)
        for word, value in values.items():
            setattr(ds, word, value)
        save(ds, folder / f"{name}.dcm")

    return write_one


_OTHERS = (
    _other("21", Modality="PT", SOPClassUID="1.2.840.10008.5.1.4.1.1.128"),
    _other("22", Modality="MR", SOPClassUID="1.2.840.10008.5.1.4.1.1.4"),
    _other("23", Modality="RTDOSE", SOPClassUID="1.2.840.10008.5.1.4.1.1.481.2"),
    _other("24", Modality="SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.67"),
    _other("25", SOPClassUID="1.2.840.10008.5.1.4.1.1.7"),
    _other("1", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SOPInstanceUID=ROOT + "1.99"),
)


def _among_others(folder: Path) -> Path:
    for other in _OTHERS:
        other(folder)
    return write(folder, Made())


def _cut(folder: Path) -> Path:
    path = next(iter(write(folder, Made()).iterdir()))
    path.write_bytes(path.read_bytes()[:-100])
    return folder


def _cut_in_header(folder: Path) -> Path:
    path = next(iter(sorted(write(folder, Made()).iterdir())[5:]))
    path.write_bytes(path.read_bytes()[:500])
    return folder


def _cut_compressed(folder: Path) -> Path:
    path = next(iter(write(folder, with_changes(Made(), _compressor("JPEG2000"))).iterdir()))
    path.write_bytes(path.read_bytes()[:-200])
    return folder


def _without_pixels(ds: Dataset, index: int) -> None:
    if index == 2:
        del ds.PixelData


def _without_preamble(folder: Path) -> Path:
    for path in write(folder, Made()).iterdir():
        path.write_bytes(path.read_bytes()[132:])
    return folder


def _deep(folder: Path) -> Path:
    write(folder / "PA000001" / "ST000001" / "SE000001", Made())
    return folder


def _one_file(folder: Path) -> Path:
    write(folder, Made(uid=ROOT + "5"))
    return min(write(folder, Made()).glob("*_8.1_*"))


def _zip(folder: Path, name: Callable[[str], str]) -> Path:
    archive = folder / "study.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(write(folder / "out", Made()).iterdir()):
            packed.writestr(name(path.name), path.read_bytes())
            path.unlink()
    return archive


def _bomb(folder: Path) -> Path:
    archive = folder / "bomb.zip"
    zeros = bytes(16 * 2**20)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed, packed.open("a", "w", force_zip64=True) as file:
        file.write(bytes(128) + b"DICM")
        for _ in range(5):
            file.write(zeros)
    return archive


def _crowd(folder: Path) -> Path:
    archive = folder / "crowd.zip"
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as packed:
        for number in range(10_001):
            packed.writestr(str(number), b"")
    archive.write_bytes(made.getvalue())
    return archive


def _without_slice_4(made: Made) -> Made:
    array = made.array_zyx.copy()
    array[4] = np.rint((array[3].astype(float) + array[5]) / 2)
    return replace(made, array_zyx=array)


def _upright(made: Made) -> Made:
    """What a series is whose slices are shifted by a row each: one row further down from slice to slice, or up."""
    count, rows, columns = made.array_zyx.shape
    array = np.full((count, rows + count - 1, columns), -1024, np.int16)
    down = made.lean_mm > 0
    for index, plane in enumerate(made.array_zyx):
        start = index if down else count - 1 - index
        array[index, start : start + rows] = plane
    way = 0 if down else made.lean_mm * (count - 1)
    origin = np.asarray(made.origin) + way * np.asarray(made.axes[3:])
    return replace(made, array_zyx=array, origin=tuple(origin.tolist()), lean_mm=0.0)


_TWO = _phases(_acquisition)
_KERNELS = _phases(_kernel)
_BETWEEN = _phases(_acquisition, shift=1.25)
_LEANING = Made(lean_mm=0.7)
_LEANING_BACK = Made(lean_mm=-0.7, axes=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
_LOSSY = _with_loss()
_PADDED, _IMPLICIT = _padded(_padding_of_16_bits), _padded(_implicit)
_SHORT = Made(array_zyx=phantom((6, 20, 24)))

KINDS = (
    Kind(sentence="a plain series", write=_series(Made()), truths=(Made(),)),
    Kind(sentence="a series some folders deeper", write=_deep, truths=(Made(),)),
    Kind(sentence="one file of a series, beside those of another", write=_one_file, truths=(Made(),)),
    Kind(sentence="files without the 132 bytes in front", write=_without_preamble, truths=(Made(),)),
    _changed("big endian", _big_endian, right=True),
    Kind(
        sentence="types that only a dictionary tells (implicit VR), padding with a sign",
        write=_series(_IMPLICIT),
        truths=(_IMPLICIT,),
    ),
    _changed("deflated", _deflated, right=True),
    _changed("compressed by RLE", _rle, right=True),
    _changed("compressed by JPEG without loss", _compressor("JPEG"), right=True),
    _changed("compressed by JPEG 2000", _compressor("JPEG2000"), right=True),
    Kind(sentence="compressed by JPEG with loss, 8 bits a pixel", write=_series(_LOSSY), truths=(_LOSSY,)),
    Kind(
        sentence="localizer, dose report, secondary capture, PT, MR and RTDOSE beside a series",
        write=_among_others,
        truths=(Made(),),
        words="left out 6 DICOM file(s) that hold no slice of a CT: 1 MR, 1 PT, 1 RTDOSE, 1 dose report or other SR, "
        "1 localizer, 1 secondary capture",
    ),
    Kind(sentence="a slice twice", write=_with_duplicate, truths=(Made(),), words="1 duplicate slice(s) dropped"),
    Kind(
        sentence="two slices of different content at one position",
        write=_with_conflict,
        words="slices of different content lie at one position (at -292.50 mm along the normal)",
    ),
    Kind(sentence="two phases in one series", write=_series(*_TWO), truths=_TWO),
    Kind(sentence="two reconstructions in one series", write=_series(*_KERNELS), truths=_KERNELS),
    Kind(sentence="two phases whose slices lie between each other's", write=_series(*_BETWEEN), truths=_BETWEEN),
    Kind(
        sentence="a missing slice",
        write=_series(Made(), leave=[4]),
        words="1 slice(s) missing, at -290.00 mm along the normal; export the whole series again; --fill-gaps",
    ),
    Kind(
        sentence="a missing slice, with `--fill-gaps`",
        write=_series(Made(), leave=[4]),
        truths=(_without_slice_4(Made()),),
        words="a missing slice was interpolated, at -290.00 mm along the normal",
        fill_gaps=True,
    ),
    Kind(
        sentence="two missing slices, with `--fill-gaps`",
        write=_series(Made(), leave=[4, 7]),
        words="2 slice(s) missing, at -290.00, -282.50 mm along the normal",
        fill_gaps=True,
    ),
    Kind(
        sentence="slices that are not equally spaced",
        write=_unequal,
        words="the slices are not equally spaced: from 2.5 to 3.6 mm",
    ),
    Kind(
        sentence="a tilted gantry",
        write=_series(_LEANING),
        truths=(_upright(_LEANING),),
        words="the gantry was tilted by 15.6 degrees: the slices are shifted in their planes",
    ),
    Kind(
        sentence="a gantry tilted the other way, feet first and prone",
        write=_series(_LEANING_BACK),
        truths=(_upright(_LEANING_BACK),),
        words="the gantry was tilted by 15.6 degrees",
    ),
    Kind(
        sentence="a tilted gantry and a missing slice, with `--fill-gaps`",
        write=_series(_LEANING, leave=[4]),
        truths=(_without_slice_4(_upright(_LEANING)),),
        words="a missing slice was interpolated",
        fill_gaps=True,
    ),
    Kind(
        sentence="slices that are shifted more than a gantry can be tilted",
        write=_series(Made(lean_mm=2.0)),
        words="each slice is shifted against the one before, by 38.7 degrees",
    ),
    Kind(sentence="enhanced multiframe", write=lambda folder: write_enhanced(folder, Made()), truths=(Made(),)),
    Kind(
        sentence="enhanced multiframe, each frame rescaled in its own way",
        write=lambda folder: write_enhanced(folder, Made(), (1.0, 0.5)),
        truths=(Made(),),
    ),
    _changed("slope and intercept that change from slice to slice", _rescaled, right=True),
    Kind(
        sentence="a slope with fractions",
        write=_series(Made(slope=0.5, intercept=-1024.5, array_zyx=phantom() + 0.5)),
        truths=(Made(array_zyx=phantom() + 0.5),),
    ),
    Kind(sentence="padding that needs more bits than are said to be used", write=_series(_PADDED), truths=(_PADDED,)),
    _changed("signed values", _signed, right=True),
    Kind(sentence="values beyond 16 bits with a sign", write=_series(_bright()), truths=(_bright(),)),
    *(
        Kind(sentence=sentence, write=_series(_seen(axes)), truths=(_seen(axes),))
        for sentence, axes in {
            "oblique, turned about two axes": TURNED,
            "feet first": (-1, 0, 0, 0, 1, 0),
            "prone": (-1, 0, 0, 0, -1, 0),
            "feet first and prone": (1, 0, 0, 0, -1, 0),
            "on the left side": (0, -1, 0, 1, 0, 0),
            "on the right side": (0, 1, 0, -1, 0, 0),
        }.items()
    ),
    Kind(sentence="coronal slices", write=_series(_seen((1, 0, 0, 0, 0, -1))), words="slices are not axial"),
    Kind(sentence="six slices", write=_series(_SHORT), words="6 slice(s), fewer than 10"),
    _changed(
        "compressed by a syntax that cannot be decoded",
        _undecodable,
        words="is compressed in a way that cannot be decoded (High-Throughput JPEG 2000",
    ),
    Kind(sentence="a file that is cut short", write=_cut, words="mm along the normal: one is cut short"),
    Kind(sentence="a compressed file that is cut short", write=_cut_compressed, words="cut short; it lies at"),
    Kind(sentence="a file that is cut in its header", write=_cut_in_header, words="1 slice(s) missing"),
    _changed("a slice without pixels", _without_pixels, words="mm along the normal: one has no pixel data"),
    Kind(sentence="a zip archive", write=lambda folder: _zip(folder, str), truths=(Made(),)),
    Kind(
        sentence="a zip archive whose paths climb: they are not used",
        write=lambda folder: _zip(folder, lambda name: f"../../{name}"),
        truths=(Made(),),
    ),
    Kind(sentence="a zip bomb", write=_bomb, words="grows beyond all measure"),
    Kind(sentence="a zip archive of more than 10 000 files", write=_crowd, words="holds 10001 files, more than 10000"),
)
