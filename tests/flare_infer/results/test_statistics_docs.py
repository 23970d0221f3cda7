"""docs/statistics.md: its example is what a phantom gives, and its tables name every field, flag and bound."""

import dataclasses
import json
import re

import pytest

from flare_infer import labels
from flare_infer.results.case import ClassStatistics, Lesion
from flare_infer.results.flags import KINDS, plausible_ml
from flare_infer.results.statistics import statistics_of
from flare_infer.results.statistics_files import FORMAT, as_fields
from tests.flare_infer.results.phantom import boxes, bright, case_of, placed
from tests.real_data import CHECKOUT

PAGE = (CHECKOUT / "docs" / "statistics.md").read_text(encoding="utf-8")


def example() -> dict[str, object]:
    """A box of liver that the scan cuts, with a small lesion; a model of two classes."""
    labels_zyx = boxes(
        (20, 30, 30), liver=(slice(0, 18), slice(3, 28), slice(2, 26)), tumor=(slice(6, 10), slice(8, 14), slice(9, 12))
    )
    labels_zyx[labels_zyx == labels.TUMOR] = 2
    scan = bright(labels_zyx, {"liver": 105, "right kidney": 70})
    case = case_of(
        labels_zyx, scan, placed((5.0, 4.0, 4.0)), name="case_0001", names=("background", "liver", "liver tumor"),
        confidence={1: 0.96, 2: 0.4},
    )  # fmt: skip
    return {"format": FORMAT, **as_fields(statistics_of(case)), "made_with": {"model": "lite"}}


def test_the_example_is_what_a_phantom_gives() -> None:
    (block,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert json.loads(block) == example()


def test_every_field_and_flag_is_explained() -> None:
    for kind in (ClassStatistics, Lesion):
        for field in dataclasses.fields(kind):
            assert f"`{field.name}`" in PAGE or field.name == "name", field.name
    for flag in KINDS:
        assert f"\n| {flag} | " in PAGE


@pytest.mark.parametrize(
    ("organ", "code"),
    [
        ("liver", labels.LIVER),
        ("spleen", labels.SPLEEN),
        ("each kidney", labels.LEFT_KIDNEY),
        ("pancreas", labels.PANCREAS),
        ("each adrenal gland", labels.LEFT_ADRENAL_GLAND),
        ("gallbladder, with bile", labels.GALLBLADDER),
        ("stomach, with content", labels.STOMACH),
    ],
)
def test_the_plausible_volumes_are_those_of_the_code(organ: str, code: int) -> None:
    bounds = plausible_ml(code)
    assert bounds is not None
    least, most = bounds
    assert f"| {organ} | {f'{least:.0f}-' if least else 'up to '}{most:.0f} |" in PAGE
