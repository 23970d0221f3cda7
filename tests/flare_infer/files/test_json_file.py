"""JSON from unknown sources: what is refused, before it takes time or memory."""

import os
from pathlib import Path

import pytest

from flare_infer.errors import FlareError, SpecError, one_line
from flare_infer.files.json_file import MOST_BYTES, read_object


def test_an_object_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": [1, 2.5, null, "\\u00e9"], "b": {"a": 1}}')
    assert read_object(path, SpecError) == {"a": [1, 2.5, None, "é"], "b": {"a": 1}}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not readable as JSON"),
        (b'{"a": 1', "not readable as JSON"),
        (b'{"a": NaN}', "NaN is no number of JSON"),
        (b'{"a": -Infinity}', "-Infinity is no number of JSON"),
        (b'{"a": 1, "b": 2, "a": 3}', "the key 'a' stands there twice"),
        (b'{"c": {"a": 1, "a": 1}}', "the key 'a' stands there twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "not readable as JSON"),
        (b"\xff\xfe{", "not readable as JSON"),
        (b"[1]", "expected a JSON object, found list"),
        (b'\xef\xbb\xbf{"a": 1}', "byte order mark .BOM.; save it as UTF-8 without one"),
        (b'{"a": 1, // one\n"b": 2}', "at a comment: take comments out .*line 1 column"),
        (b'{\n"a": 1\n/* two */}', "at a comment: take comments out .*line 3 column 1"),
        (b'# three\n{"a": 1}', "at a comment: take comments out .*line 1 column 1"),
        (b'{"a": # four\n1}', "at a comment"),
        (b'{"a": "http://b', r"not readable as JSON \(Unterminated"),
    ],
)
def test_what_is_no_strict_json_object_is_refused_in_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(SpecError, match=says) as caught:
        read_object(path, SpecError)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_twice_among_many_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("{" + ",".join(f'"{key}":0' for key in [*range(10**5), 99_999]) + "}")
    with pytest.raises(SpecError, match="the key '99999' stands there twice"):
        read_object(path, SpecError)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate(2**40)  # a hole: takes no disk, and could not be read into memory
    with pytest.raises(SpecError, match=f"larger than {MOST_BYTES} bytes"):
        read_object(path, SpecError)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(SpecError, match="expected a file"):
            read_object(path, SpecError)
    with pytest.raises(FileNotFoundError):
        read_object(tmp_path / "missing", SpecError)


def test_an_error_is_one_short_line_that_steers_no_terminal() -> None:
    text = str(FlareError("name \x1b[2J\u202e\ud800\n  and " + "long " * 10_000 + "; do this"))
    assert text.startswith(r"name \x1b[2J\u202e\ud800 and long")
    assert text.endswith("; do this")
    assert len(text) < 1100
    assert text.isprintable()
    assert one_line("plain: 5 of 7, é") == "plain: 5 of 7, é"
