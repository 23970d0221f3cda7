"""The elements of a DICOM header that are needed, found by pydicom; values are made when they are asked for."""

import io
import itertools
import logging
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeAlias

from isal import isal_zlib

from flare_infer.errors import ImageError, MissingExtraError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.tag import BaseTag

IMPLICIT: Final = "1.2.840.10008.1.2"
EXPLICIT: Final = "1.2.840.10008.1.2.1"
BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"

_NEEDED: Final = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "SeriesDescription"),
    *("Modality", "ImageType"),
    "PatientID",
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "AcquisitionNumber"),
    *("TemporalPositionIdentifier", "ConvolutionKernel", "ContrastBolusAgent", "KVP"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
_SIGN_DECIDES: Final = ("PixelPaddingValue", "PixelPaddingRangeLimit")
"""Elements whose type, where the file does not say it, depends on whether pixels have a sign."""

_PREAMBLE_BYTES: Final = 132
_FIRST_PIXEL_TAG: Final = 0x7FE00008
_META_GROUP: Final = 2
_BEGIN_BYTES: Final = 2**16
"""What of a file is read at once: nearly every header of a slice is shorter."""

_MOST_HEADER_BYTES: Final = 2**24
"""Of a deflated header; one of a thousand frames takes some MB."""

_MOST_ELEMENTS: Final = 100_000
"""Of a header, those in sequences not counted: a file of zeros would be a header of nothing else."""

_VALUES_KEPT: Final = 4096
IsalError: Any = isal_zlib.IsalError
"""Its type is not given."""

_DAMAGES: Final[tuple[type[Exception], ...]] = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, NotImplementedError, RecursionError),
    *(OSError, EOFError, RuntimeError, struct.error, zlib.error, IsalError, MemoryError),
)

_Element: TypeAlias = tuple[int, int, int]
"""Tag, offset of the value in bytes, and its length."""


class Elements:
    """The elements of a header, or of an item of a sequence, by keyword; to be used within `damage_reported`.

    Args:
        dataset: what pydicom parsed.
    """

    def __init__(self, dataset: "Dataset") -> None:
        self._dataset = dataset

    def __contains__(self, keyword: str) -> bool:
        return _tag(keyword) in self._dataset

    def get(self, keyword: str) -> Any:
        """A value, None if there is none: one number or text, or a sequence of them; text for a UID."""
        tag = _tag(keyword)
        if tag not in self._dataset:
            return None
        stored: Any = self._dataset.get_item(tag)
        if not hasattr(stored, "is_implicit_VR") or keyword in _SIGN_DECIDES:
            return self._dataset[tag].value
        charset = self._dataset.original_character_set
        return _converted(
            (tag, stored.VR, stored.value, stored.is_implicit_VR, stored.is_little_endian),
            charset if isinstance(charset, str) else tuple(charset),
        )

    def items(self, keyword: str) -> list["Elements"]:
        """The items of a sequence; none if there is no such sequence."""
        return [Elements(item) for item in self.get(keyword) or ()]

    def first_items(self) -> list["Elements"]:
        """Of every sequence that has items the first."""
        return [Elements(one.value[0]) for one in self._dataset if one.VR == "SQ" and one.value]


@lru_cache(_VALUES_KEPT)
def _converted(stored: tuple[Any, ...], charset: str | tuple[str, ...]) -> Any:
    """The value of a stored one; most are the same in all slices of a series, and pydicom takes its time."""
    from pydicom.dataelem import RawDataElement, convert_raw_data_element

    tag, kind, value, implicit, little = stored
    raw = RawDataElement(tag, kind, len(value or ""), value, 0, implicit, little)
    return convert_raw_data_element(raw, encoding=charset if isinstance(charset, str) else list(charset)).value


@cache
def _tag(keyword: str) -> "BaseTag":
    from pydicom.tag import Tag

    return Tag(keyword)


@dataclass(frozen=True, kw_only=True)
class Header:
    """What the header of a file holds.

    Attributes:
        elements: its elements.
        syntax: UID of the transfer syntax.
        pixels: tag, offset in bytes and length of the first element of pixels; None if there is none.
        packed_at: offset of what is deflated, in which the others are offsets; None if nothing is.
        file_bytes: size of the file.
    """

    elements: Elements
    syntax: str
    pixels: _Element | None
    packed_at: int | None
    file_bytes: int


def read_elements(path: Path) -> Header:
    """Read the header of a DICOM file; both this and what asks for values stand within `damage_reported`."""
    with path.open("rb", buffering=0) as file:
        begin, size = file.read(_BEGIN_BYTES), path.stat().st_size
        stream = io.BytesIO(begin)
        syntax = _syntax(stream)
        at = stream.tell()
        deflated = syntax == DEFLATED
        if deflated:
            stream = io.BytesIO(inflated(begin[at:], _BEGIN_BYTES))
        parsed = None
        with suppress(*_damages()):
            parsed = _parsed(stream, syntax)
        if parsed is None or parsed[1] is None:
            file.seek(at)
            whole: Any = io.BytesIO(inflated(file.read(), _MOST_HEADER_BYTES)) if deflated else io.BufferedReader(file)
            parsed = _parsed(whole, syntax)
    return Header(
        elements=Elements(parsed[0]),
        syntax=syntax,
        pixels=parsed[1],
        packed_at=at if deflated else None,
        file_bytes=size,
    )


def _syntax(stream: BinaryIO) -> str:
    """The transfer syntax of a file, whose stream is left where its elements begin; a guess if the file says none."""
    from pydicom.filereader import read_dataset

    begin = stream.read(_PREAMBLE_BYTES)
    if not begin.endswith(b"DICM"):
        stream.seek(0)
    count = itertools.count()
    meta = read_dataset(
        stream,
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, _, __: int(tag) >> 16 != _META_GROUP or next(count) > _MOST_ELEMENTS,
    )
    if said := meta.get("TransferSyntaxUID"):
        return str(said)
    at = stream.tell()
    tag, kind = stream.read(4), stream.read(2)
    stream.seek(at)
    if not (kind.isalpha() and kind.isupper()):
        return IMPLICIT
    return EXPLICIT if tag[1] == 0 else BIG_ENDIAN


def _parsed(stream: BinaryIO, syntax: str) -> "tuple[Dataset, _Element | None]":
    """The elements that are needed, and where pixels lie in the stream."""
    from pydicom.filereader import read_dataset

    found: list[_Element] = []
    dataset = read_dataset(
        stream,
        is_implicit_VR=syntax == IMPLICIT,
        is_little_endian=syntax != BIG_ENDIAN,
        stop_when=_noting_pixels(stream, found),
        specific_tags=_needed(),
    )
    return dataset, found[0] if found else None


def inflated(packed: bytes, most_bytes: int) -> bytes:
    """The beginning of what was deflated without a header of its own, at most so many bytes of it."""
    content: bytes = isal_zlib.decompressobj(wbits=-zlib.MAX_WBITS).decompress(packed, most_bytes)
    return content


def _noting_pixels(file: BinaryIO, found: list[_Element]) -> Callable[["BaseTag", str | None, int], bool]:
    """Asked at every element, stops before the pixels and notes where they lie."""
    count = itertools.count()

    def is_pixels(tag: "BaseTag", _: str | None, length: int) -> bool:
        if next(count) > _MOST_ELEMENTS:
            raise ValueError("a header without end")
        if int(tag) < _FIRST_PIXEL_TAG:
            return False
        found.append((int(tag), file.tell(), length))
        return True

    return is_pixels


@cache
def _needed() -> "list[BaseTag | int]":
    return [_tag(name) for name in _NEEDED]


@cache
def _damages() -> tuple[type[Exception], ...]:
    """What pydicom raises over damaged files."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    return *_DAMAGES, InvalidDicomError, BytesLengthException


@contextmanager
def damage_reported() -> Iterator[None]:
    """Whatever a damaged header makes of pydicom is one error; pydicom itself says nothing, since it quotes values.

    Raises:
        ImageError: if a file is damaged; the text names neither the file nor anything in it.
        MissingExtraError: if pydicom is not installed.
    """
    try:
        from pydicom import config
    except ImportError as error:
        raise MissingExtraError('DICOM is read with pydicom: pip install "flare-infer[dicom]"') from error
    config.settings.reading_validation_mode = config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except _damages() as error:
        raise ImageError(f"cannot be read ({type(error).__name__}); it is damaged or cut short") from error
