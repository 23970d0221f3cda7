"""A form with files (multipart/form-data), taken apart while it arrives: no part of it is ever held in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from flare_serve.web.refusal import RefusedError

_MOST_HEADER_BYTES: Final = 8192
_MOST_BOUNDARY: Final = 200


class Piece(NamedTuple):
    """A piece of a form.

    Attributes:
        field: name of the field that it belongs to; empty if the form itself has ended.
        file_name: what the sender calls the file; None if it is no file.
        data: bytes; empty where the field begins.
        begins: whether the field begins.
    """

    field: str
    file_name: str | None
    data: bytes = b""
    begins: bool = False


@dataclass
class FormReader:
    """Turns the bytes of a form into pieces.

    Attributes:
        content_type: the header of that name.
        ended: whether the end of the form has arrived.
    """

    content_type: str
    ended: bool = False
    _pieces: list[Piece] = field(default_factory=list)
    _header: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))
    _part: Piece = field(default_factory=lambda: Piece("", None))

    def __post_init__(self) -> None:
        _, options = parse_options_header(self.content_type)
        boundary = options.get(b"boundary", b"")
        if not 0 < len(boundary) <= _MOST_BOUNDARY:
            raise RefusedError(400, "the form has no boundary; let the client set its content type")
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part,
                "on_header_field": self._on_name,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header,
                "on_headers_finished": lambda: self._pieces.append(self._part._replace(begins=True)),
                "on_part_data": lambda data, start, end: self._pieces.append(self._part._replace(data=data[start:end])),
                "on_end": self._on_end,
            },
        )

    def pieces(self, data: bytes) -> Iterator[Piece]:
        """The pieces in the next bytes.

        Raises:
            RefusedError: if they are no form.
        """
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise RefusedError(400, "the form is damaged; send it again, or the file alone as the body") from error
        found, self._pieces = self._pieces, []
        yield from found

    def _on_part(self) -> None:
        self._part, self._header = Piece("", None), (bytearray(), bytearray())

    def _on_name(self, data: bytes, start: int, end: int) -> None:
        self._add(0, data[start:end])

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._add(1, data[start:end])

    def _add(self, which: int, data: bytes) -> None:
        self._header[which].extend(data)
        if len(self._header[which]) > _MOST_HEADER_BYTES:
            raise RefusedError(400, "a header of the form is too long")

    def _on_header(self) -> None:
        name, value = (bytes(part) for part in self._header)
        self._header = (bytearray(), bytearray())
        if name.lower() != b"content-disposition":
            return
        _, options = parse_options_header(value)
        file_name = options.get(b"filename")
        self._part = Piece(
            options.get(b"name", b"").decode(errors="replace"),
            None if file_name is None else file_name.decode(errors="replace"),
        )

    def _on_end(self) -> None:
        self.ended = True
