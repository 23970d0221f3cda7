"""How much predictions disagree, by hand, and what is selected by it."""

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from typer.testing import CliRunner

from flare_infer.errors import DatasetError, UsageError
from flare_infer.formats.volume_io import write_volume
from flare_infer.labels import ORGANS, TUMOR
from flare_infer.volume.volume import Placement, Volume
from tests.tiny import LPS
from train.commands.app import app
from train.problems import ProblemsError
from train.pseudo.select import Selection, read_selection, select_cases, write_selection
from train.pseudo.uncertainty import Uncertainty, disagreement, measure_uncertainties
from train.pseudo.uncertainty_table import read_uncertainties, write_uncertainties


def drawn(*rows: str) -> np.ndarray:
    """One plane; L is liver, S spleen, T tumor."""
    codes = {".": 0, "L": 1, "S": 3, "T": TUMOR}
    return np.array([[[codes[letter] for letter in row] for row in rows]], dtype=np.uint8)


A = drawn("LLLL", "SS..", "T...")
B = drawn("LLL.", "SSS.", "TT..")
C = drawn("LLL.", "LLS.", "TTT.")


def test_disagreement_by_hand() -> None:
    # A against B: two organ voxels differ, six are organs in B. B against C: two differ, six are organs in C.
    assert disagreement([A, B], ORGANS) == pytest.approx(2 / 6)
    assert disagreement([A, B, C], ORGANS) == pytest.approx((2 / 6 + 2 / 6) / 2)
    # Tumor: one of two, one of three.
    assert disagreement([A, B, C], (TUMOR,)) == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert disagreement([C, B, A], (TUMOR,)) == pytest.approx((1 / 2 + 1 / 1) / 2), "the order counts"
    assert disagreement([A, A, A], ORGANS) == 0


def test_what_is_not_compared_is_background() -> None:
    """A tumor inside a liver is no liver, and an organ beside a tumor no difference of tumors."""
    one, other = drawn("LLTT"), drawn("LLLL")
    assert disagreement([one, other], ORGANS) == pytest.approx(2 / 4)
    assert disagreement([other, one], ORGANS) == pytest.approx(2 / 2)
    assert disagreement([one, other], (1, 3)) == pytest.approx(2 / 4)


def test_a_zero_denominator_is_undefined() -> None:
    none = drawn("....", "....", "....")
    assert disagreement([A, none], ORGANS) is None
    assert disagreement([none, none], ORGANS) is None
    assert disagreement([A, B, none], ORGANS) is None, "one of two pairs is enough"
    assert disagreement([none, A], ORGANS) == pytest.approx(6 / 6), "nobody divides by the first"


def test_a_disagreement_needs_two_of_one_shape() -> None:
    with pytest.raises(UsageError, match="two predictions or more"):
        disagreement([A], ORGANS)
    with pytest.raises(UsageError, match="of one shape"):
        disagreement([A, A[:, :2]], ORGANS)


maps = st.integers(2, 4).flatmap(
    lambda count: st.lists(
        arrays(np.uint8, (2, 2, 3), elements=st.sampled_from([0, 1, 3, TUMOR])), min_size=count, max_size=count
    )
)


@settings(max_examples=200, deadline=None)
@given(maps, st.sampled_from([ORGANS, (TUMOR,), (1,)]))
def test_disagreement_equals_the_loop(predictions: list[np.ndarray], codes: tuple[int, ...]) -> None:
    ratios = []
    for one, other in pairwise(predictions):
        different = labeled = 0
        for pair in zip(one.flat, other.flat, strict=True):
            left, right = (int(code) if code in codes else 0 for code in pair)
            different += left != right
            labeled += right > 0
        ratios.append(different / labeled if labeled else None)
    expected = None if None in ratios else pytest.approx(sum(ratios) / len(ratios))
    assert disagreement(predictions, codes) == expected


def write_map(folder: Path, name: str, array: np.ndarray, spacing: float = 1.0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    placement = Placement(spacing_mm=(spacing, 1.0, 1.0), origin_mm=(0.0, 0.0, 0.0), axes=LPS)
    write_volume(folder / f"{name}.nii.gz", Volume(array_zyx=array, placement=placement))


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    made = [tmp_path / letter for letter in "abc"]
    for folder, array in zip(made, (A, B, C), strict=True):
        write_map(folder, "case", array)
        write_map(folder, "same", A)
    return made


def test_folders_are_compared_in_the_stated_order(folders: list[Path]) -> None:
    a, b, c = folders
    steps: list[int] = []
    rows = measure_uncertainties([a, b, c], [c, b], progress=steps.append)
    assert [row.name for row in rows] == ["case", "same"]
    assert rows[0].organs == pytest.approx(1 / 3)
    assert rows[0].tumor == pytest.approx(1 / 2)
    assert (rows[1].organs, rows[1].tumor) == (0, 0)
    assert steps == [2, 2]
    assert [row.name for row in measure_uncertainties([a, b], [a, c], names=["same"])] == ["same"]


def test_every_problem_of_the_folders_is_told_at_once(folders: list[Path]) -> None:
    a, b, c = folders
    write_map(c, "only_c", A)
    write_map(b, "case", B, spacing=2.0)
    write_map(c, "same", np.full_like(A, 77))
    with pytest.raises(ProblemsError) as caught:
        measure_uncertainties([a, b, c], [a, c])
    lines = caught.value.problems
    assert lines[:2] == (f"only_c: no label map in {a}", f"only_c: no label map in {b}")
    assert f"case: {b / 'case.nii.gz'} lies on another grid than {a / 'case.nii.gz'}: spacing (mm) (" in lines[2]
    assert "same.nii.gz: expected labels 0..14, found 77" in lines[3]
    assert len(lines) == 4
    for organs, tumor, what in (([a], [a, b], "organs"), ([a, b], [b], "tumors")):
        with pytest.raises(UsageError, match=f"the uncertainty of {what} compares two folders"):
            measure_uncertainties(organs, tumor)


def row(name: str, organs: float | None, tumor: float | None = None) -> Uncertainty:
    return Uncertainty(name=name, organs=organs, tumor=tumor)


def test_a_table_is_read_back_to_the_last_digit(tmp_path: Path) -> None:
    rows = [row("a", 1 / 3, None), row("b,c", None, 0.1 + 0.2), row("d", 0.0, 12.5)]
    path = tmp_path / "new" / "table.csv"
    write_uncertainties(path, rows)
    assert read_uncertainties(path) == rows
    assert [other.name for other in path.parent.iterdir()] == ["table.csv"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("case,organs\na,1\n", "expected the columns case, organs, tumor"),
        ("", "found none"),
        ("case,organs,tumor\na,1\n", r"table\.csv:2: expected a case and two numbers"),
        ("case,organs,tumor\na,1,1\nb,x,1\n", r"table\.csv:3: expected"),
        ("case,organs,tumor\na,nan,1\n", "numbers of at least 0, found a,nan,1"),
        ("case,organs,tumor\na,-1,1\n", "numbers of at least 0"),
        ("case,organs,tumor\na,1,1\na,1,1\n", "case a is there twice"),
    ],
)
def test_a_broken_table_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(DatasetError, match=says):
        read_uncertainties(tmp_path / "table.csv")
    with pytest.raises(DatasetError, match="not a readable table"):
        read_uncertainties(tmp_path / "none.csv")


ROWS = [
    row("e", 0.5, 0.1),
    row("d", 0.1, 0.9),
    row("c", 0.2, None),
    row("b", 0.1, 0.2),
    row("a", None, 0.0),
    row("f", 0.3, 0.2),
]


def test_selection_by_hand() -> None:
    chosen = select_cases(ROWS, count=4, with_tumor=2)
    # Organs: b and d (a tie, by name), c, f; e is too uncertain and a undefined. Of these, tumors: b, f (a tie), d.
    assert chosen == Selection(keep_tumor=("b", "f"), hosts=("d", "c"))
    assert chosen.names == ("b", "c", "d", "f")
    assert select_cases(ROWS, count=2, with_tumor=1) == Selection(keep_tumor=("b",), hosts=("d",))
    assert select_cases(ROWS, count=1, with_tumor=0).hosts == ("b",)


def test_fewer_than_asked_is_said_and_the_undefined_is_never_selected() -> None:
    chosen = select_cases(ROWS, count=9, with_tumor=7)
    assert chosen.keep_tumor == ("e", "b", "f", "d")
    assert chosen.hosts == ("c",), "no tumor in a prediction that is divided by"
    first, second = chosen.notes
    assert first == "asked for 9 cases, took all 5 whose uncertainty of organs is defined"
    assert second.startswith("asked for 7 with tumors, took all 4 of the selected")
    with pytest.raises(UsageError, match="none of 1 cases has a defined uncertainty"):
        select_cases([row("a", None, 1.0)])
    for count, with_tumor in ((0, 0), (1, -1)):
        with pytest.raises(UsageError, match="expected to select"):
            select_cases(ROWS, count, with_tumor)


def test_the_order_of_the_rows_does_not_matter() -> None:
    shuffled = ROWS.copy()
    for seed in range(20):
        random.Random(seed).shuffle(shuffled)
        assert select_cases(shuffled, 4, 2) == select_cases(ROWS, 4, 2)


def test_a_selection_is_read_back(tmp_path: Path) -> None:
    chosen = select_cases(ROWS, 9, 2)
    write_selection(tmp_path / "selection.json", chosen)
    assert read_selection(tmp_path / "selection.json") == chosen
    for text, says in (
        ('{"keep_tumor": ["a"], "hosts": ["a"]}', "listed twice"),
        ('{"keep_tumor": "a"}', "expected a list of texts"),
    ):
        (tmp_path / "selection.json").write_text(text)
        with pytest.raises(DatasetError, match=says):
            read_selection(tmp_path / "selection.json")
    with pytest.raises(DatasetError, match="run `flare-train select` first"):
        read_selection(tmp_path / "none.json")


def test_the_command_selects_the_papers_numbers(tmp_path: Path) -> None:
    # Of 1100 cases the surer ones of organs come first, and of these the last are the surest of tumors.
    rows = [row(f"{number:04d}", number / 1000, 1 - number / 10_000) for number in range(1100)]
    write_uncertainties(tmp_path / "table.csv", rows)
    ran = CliRunner().invoke(app, ["select", str(tmp_path / "table.csv"), str(tmp_path / "selection.json")])
    assert ran.exit_code == 0, ran.output
    chosen = read_selection(tmp_path / "selection.json")
    assert chosen.names == tuple(f"{number:04d}" for number in range(1000))
    assert chosen.keep_tumor == tuple(f"{number:04d}" for number in range(999, 899, -1))


def test_a_folder_is_compared_once(tmp_path: Path) -> None:
    """It agrees with itself: every uncertainty would be 0, and the selection arbitrary."""
    one, other = tmp_path / "one", tmp_path / "other"
    placement = Placement(spacing_mm=(1.0, 1.0, 1.0), origin_mm=(0.0, 0.0, 0.0), axes=LPS)
    for folder in (one, other):
        folder.mkdir()
        write_volume(folder / "a.nii.gz", Volume(array_zyx=A, placement=placement))
    (tmp_path / "link").symlink_to(one)
    for again in (one, tmp_path / "other" / ".." / "one", tmp_path / "link"):
        with pytest.raises(UsageError, match=r"uncertainty of organs compares different folders, and .* named twice"):
            measure_uncertainties([one, other, again], [one, other])
        with pytest.raises(UsageError, match="uncertainty of tumors compares different folders"):
            measure_uncertainties([one, other], [other, one, again])
    assert len(measure_uncertainties([one, other], [other, one])) == 1
