"""Which classes each case annotates."""

import json
from pathlib import Path

import pytest

from flare_eval.label_maps.annotations import read_annotations
from flare_infer.errors import DatasetError


def write(folder: Path, content: object) -> Path:
    path = folder / "annotated.json"
    path.write_text(json.dumps(content))
    return path


def test_listed_cases_and_the_default(tmp_path: Path) -> None:
    annotations = read_annotations(write(tmp_path, {"default": [1, 2], "case_7": [14, 3, 3], "blank": []}))
    assert annotations.codes_of("case_7") == (3, 14)
    assert annotations.codes_of("blank") == ()
    assert annotations.codes_of("any other") == (1, 2)


def test_names_stand_for_codes(tmp_path: Path) -> None:
    annotations = read_annotations(write(tmp_path, {"a": ["spleen", "kidney_right", 14]}))
    assert annotations.codes_of("a") == (2, 3, 14)


def test_a_case_covered_by_neither_is_named_with_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, {"case_7": [14]})
    with pytest.raises(DatasetError, match="case_8") as raised:
        read_annotations(path).codes_of("case_8")
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    "codes", [[0], [15], [255], [-1], [1.0], ["1"], ["kidney"], ["background"], [True], [None], 1, "1", None, {"1": 1}]
)
def test_codes_are_whole_numbers_of_the_challenge(tmp_path: Path, codes: object) -> None:
    path = write(tmp_path, {"case_7": codes})
    with pytest.raises(DatasetError, match="case_7") as raised:
        read_annotations(path)
    assert str(path) in str(raised.value)


def test_a_case_name_with_its_channel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="case_7_0000"):
        read_annotations(write(tmp_path, {"default": [1], "case_7_0000": [14]}))


@pytest.mark.parametrize("content", ["[1, 2]", "3", "{", "", "\x00"])
def test_a_file_that_is_no_object_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "annotated.json"
    path.write_text(content)
    with pytest.raises(DatasetError, match=r"annotated\.json"):
        read_annotations(path)


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        read_annotations(tmp_path / "annotated.json")
    (tmp_path / "annotated.json").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(DatasetError, match="not readable as JSON"):
        read_annotations(tmp_path / "annotated.json")
