import json
from pathlib import Path

import pytest

from flare_infer import labels
from flare_infer.errors import SpecError
from flare_infer.labels import CODES, NAMES, ORGANS
from flare_infer.model.model_file import read_model_file, write_spec
from flare_infer.model.spec import Normalization
from tests.tiny import tiny_spec


def test_there_are_13_organs_and_tumor() -> None:
    assert len(ORGANS) == 13
    assert [NAMES[code] for code in (1, 2, 13, 14)] == ["liver", "right kidney", "left kidney", "tumor"]
    assert tuple(range(1, 15)) == CODES


def test_a_spec_survives_its_file(tmp_path: Path) -> None:
    spec = tiny_spec(untrained=(7, 8), training={"cases": ["a"]})
    write_spec(spec, tmp_path)
    assert read_model_file(tmp_path).spec == spec
    assert spec.predicted == (0, 1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 14)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("patch", [7, 16, 16], "multiple of"),
        ("patch", [8, 16], "patch: expected a list of 3"),
        ("spacing_mm", [1, 0, 1], "positive"),
        ("spacing_mm", [1, float("nan"), 1], "NaN is no number of JSON"),
        ("folds", 10**9, "1 to 64 folds"),
        ("folds", 0, "1 to 64 folds"),
        ("patch", [2**20, 160, 160], "voxels"),
        ("untrained", [99], "outside"),
        ("format", 2, "format 1"),
        ("colour", "red", "colour"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, field: str, value: object, says: str) -> None:
    write_spec(tiny_spec(), tmp_path)
    path = tmp_path / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(SpecError, match=says) as caught:
        read_model_file(tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": 1}'])
def test_what_is_no_spec_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(SpecError, match=r"model\.json"):
        read_model_file(tmp_path)


def test_a_missing_spec_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"no model\.json"):
        read_model_file(tmp_path)


def test_normalization_needs_a_range() -> None:
    with pytest.raises(SpecError, match="clip_low_hu < clip_high_hu"):
        Normalization(clip_low_hu=10, clip_high_hu=10, mean_hu=0, std_hu=1)


def test_the_numbering_is_the_challenges() -> None:
    by_hand = (
        *("background", "liver", "right kidney", "spleen", "pancreas", "aorta", "inferior vena cava"),
        *("right adrenal gland", "left adrenal gland", "gallbladder", "esophagus", "stomach", "duodenum"),
        *("left kidney", "tumor"),
    )
    assert by_hand == NAMES
    for code, name in enumerate(by_hand):
        assert getattr(labels, name.upper().replace(" ", "_")) == code


def test_what_a_model_does_not_say_is_what_the_released_code_does() -> None:
    spec = tiny_spec()
    assert spec.window_step == 0.6
    assert (spec.skipping.foreground_voxels, spec.skipping.minimal_positions) == (100, 5)
    assert (spec.orientation, spec.transpose, spec.mirror_axes, spec.folds) == ("LPS", (0, 1, 2), (), 1)
    assert spec.fill == -2.5, "air around a small scan: (-200 - 50) / 100"
    assert (spec.smallest_part, spec.tumor_organs, spec.tumor_lead) == ((), (), 0.0)
    assert tiny_spec(untrained=(2, 14)).predicted == (0, 1, *range(3, 14))
