"""Codes, names and colors of classes."""

import json
from pathlib import Path

import pytest
from pydicom.sr.codedict import codes

from flare_infer.errors import UsageError
from flare_infer.exports.color_table import codes_of_names, colors_of, write_color_table
from flare_infer.exports.terms import LEFT, RIGHT, TERMS, TISSUE, term_of
from flare_infer.labels import CODES, LIVER, NAMES, TUMOR
from flare_infer.results.picture import COLORS


@pytest.mark.parametrize("code", CODES, ids=NAMES[1:])
def test_each_code_is_the_one_of_the_standards_tables(code: int) -> None:
    term = TERMS[code]
    keyword = "".join(word.capitalize() for word in term.kind.meaning.split())
    known = getattr(codes.cid7159 if code == TUMOR else codes.cid7192, keyword)
    assert (term.kind.value, term.kind.scheme) == (known.value, "SCT")
    side = next((word for word in ("Left", "Right") if word.lower() in NAMES[code]), None)
    assert (term.side.value if term.side else None) == (getattr(codes.cid244, side).value if side else None)


def test_the_words_around_the_codes() -> None:
    assert TERMS[TUMOR].category.value == codes.cid7150.MorphologicallyAbnormalStructure.value
    assert TERMS[LIVER].category.value == codes.SCT.BodyStructure.value
    region = TERMS[TUMOR].region
    assert region is not None
    assert region.value == codes.cid4.Abdomen.value
    assert TISSUE.value == codes.cid7150.Tissue.value


@pytest.mark.parametrize(
    ("name", "kind", "side", "region"),
    [
        ("kidney_right", "Kidney", RIGHT, None),
        ("postcava", "Inferior vena cava", None, None),
        ("liver tumor", "Neoplasm", None, "Liver"),
        ("renal cancer", "Neoplasm", None, "Kidney"),
        ("heart", "Heart", None, None),
        ("lung_left", "Lung", LEFT, None),
        ("structure 7", "Tissue", None, None),
        ("thing_right", "Tissue", RIGHT, None),
        ("", "Tissue", None, None),
    ],
)
def test_classes_of_other_models(name: str, kind: str, side: object, region: str | None) -> None:
    term = term_of(name)
    assert (term.kind.meaning, term.side, term.region and term.region.meaning) == (kind, side, region)


def test_a_list_of_names() -> None:
    assert codes_of_names("liver, LEFT_KIDNEY,post-cava", NAMES) == {1, 13, 6}
    assert codes_of_names("Right kidney", ("background", "kidney_right", "heart")) == {1}
    assert codes_of_names("HEART", ("background", "kidney_right", "heart")) == {2}


@pytest.mark.parametrize("text", ["liver,spline", "background", "kidney", "", " , "])
def test_a_name_that_the_model_does_not_have(text: str) -> None:
    with pytest.raises(UsageError, match=r"--organs: .*known are liver, right kidney, .*, tumor$"):
        codes_of_names(text, NAMES)


def test_colors() -> None:
    names = ("background", "kidney_left", *(f"part {number}" for number in range(20)))
    colors = colors_of(names)
    assert colors[:2] == ((0, 0, 0), COLORS[13])
    assert len(set(colors)) == len(names)
    assert all(0 <= value <= 255 for color in colors for value in color)


def test_a_table_for_slicer(tmp_path: Path) -> None:
    write_color_table(
        tmp_path / "a.ctbl", ("background", "right kidney", "\nx y\x1b"), [(0, 0, 0), (1, 2, 3), (4, 5, 6)]
    )
    lines = (tmp_path / "a.ctbl").read_text(encoding="utf-8").splitlines()
    assert lines[1:] == ["0 background 0 0 0 0", "1 right_kidney 1 2 3 255", "2 _x_y_ 4 5 6 255"]


def test_a_table_in_json(tmp_path: Path) -> None:
    write_color_table(tmp_path / "a.json", NAMES, colors_of(NAMES))
    found = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["labels"]
    assert found[LIVER] == {"code": 1, "name": "liver", "color": [214, 124, 66]}
