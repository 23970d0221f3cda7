"""Experts' labels and pseudo labels in one dataset: experts win, validation cases are left alone."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flare_infer.errors import SpecError, UsageError
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.labels import CODES, ORGANS, TUMOR
from flare_infer.model.model_file import write_spec
from flare_infer.volume.volume import Volume
from tests.dataset import add_case, make_dataset
from tests.tiny import tiny_spec
from tests.train.commands.test_app import run
from train.commands.app import app
from train.dataset.cases import read_cases
from train.problems import ProblemsError
from train.pseudo import merge as merging
from train.pseudo.fill import fill_organs, pseudo_labels
from train.pseudo.merge import merge_dataset
from train.pseudo.merge_plan import PseudoLabels, known_codes
from train.pseudo.select import Selection, write_selection

codes = st.sets(st.sampled_from(CODES), min_size=1)


@st.composite
def situations(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, set[int], set[int]]:
    annotated, known = draw(codes), draw(codes)
    expert = draw(arrays(np.uint8, (2, 3, 4), elements=st.sampled_from([0, *sorted(annotated)])))
    return expert, draw(arrays(np.uint8, (2, 3, 4), elements=st.sampled_from([0, *CODES]))), annotated, known


@settings(max_examples=300, deadline=None)
@given(situations())
def test_expert_voxels_always_win(situation: tuple[np.ndarray, np.ndarray, set[int], set[int]]) -> None:
    expert, predicted, annotated, known = situation
    before = expert.copy()
    filled = fill_organs(expert, predicted, annotated, known)
    assert np.array_equal(expert, before)
    for own, model, result in zip(expert.flat, predicted.flat, filled.flat, strict=True):
        if own != 0:
            assert result == own
        elif model in known and model in ORGANS and model not in annotated:
            assert result == model
        else:
            assert result == 0
    for code in annotated:
        assert np.array_equal(filled == code, expert == code), "nothing of what the expert drew changes"


def test_pseudo_labels_by_hand() -> None:
    predicted = np.array([[[0, 1, 5, TUMOR]]], dtype=np.uint8)
    assert pseudo_labels(predicted, CODES, keep_tumor=True).tolist() == [[[0, 1, 5, TUMOR]]]
    assert pseudo_labels(predicted, CODES, keep_tumor=False).tolist() == [[[0, 1, 5, 0]]]
    assert pseudo_labels(predicted, (1, TUMOR), keep_tumor=True).tolist() == [[[0, 1, 0, TUMOR]]]
    assert predicted.max() == TUMOR


FULL = (*ORGANS, TUMOR)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Experts' cases of every kind, the fine model's labels of all, and four unlabeled CTs with its labels."""
    dataset = make_dataset(
        tmp_path, {"full": ORGANS, "held": (TUMOR,), "part": (1, 3, TUMOR), "tumor": (TUMOR,), "tumor2": (TUMOR,)}
    )
    (dataset / "splits.json").write_text('{"validation": ["held"]}')
    (dataset / "patients.json").write_text('{"p": ["held", "u4"]}')
    everything = make_dataset(tmp_path / "model", dict.fromkeys(("full", "held", "part", "tumor", "tumor2"), FULL))
    (everything / "labelsTr").rename(tmp_path / "organs")
    unlabeled = make_dataset(tmp_path / "more", {})
    for seed, name in enumerate(("u1", "u2", "u3", "u4"), start=50):
        add_case(unlabeled, name, FULL, seed)
    (unlabeled / "imagesTr").rename(tmp_path / "images")
    (unlabeled / "labelsTr").rename(tmp_path / "labels")
    return tmp_path


def pseudo(inputs: Path, **changes: object) -> PseudoLabels:
    fields: dict[str, object] = {
        "organs": inputs / "organs",
        "images": inputs / "images",
        "labels": inputs / "labels",
        "selection": Selection(keep_tumor=("u2",), hosts=("u1", "u3")),
    }
    return PseudoLabels(**(fields | changes))  # type: ignore[arg-type]


def voxels(path: Path) -> np.ndarray:
    return read_volume(path).array_zyx


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_a_merged_dataset_is_what_it_says(inputs: Path) -> None:
    dataset, target = inputs / "dataset", inputs / "merged"
    before = contents(inputs)
    made = merge_dataset(dataset, pseudo(inputs), target)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before
    assert made.names("expert") == ("full", "held", "part")
    assert made.names("filled") == ("tumor", "tumor2")
    assert (made.names("keep_tumor"), made.names("host")) == (("u2",), ("u1", "u3"))

    cases = {case.name: case for case in read_cases(target)}
    assert {name: case.annotated for name, case in cases.items()} == {
        "full": ORGANS,
        "held": (TUMOR,),
        "part": (1, 3, TUMOR),
        **dict.fromkeys(("tumor", "tumor2", "u1", "u2", "u3"), FULL),
    }
    assert [case.name for case in cases.values() if case.validation] == ["held"]
    assert [case.name for case in cases.values() if case.unlabeled] == ["u1", "u2", "u3"]
    for name in ("full", "held", "part"):
        np.testing.assert_array_equal(voxels(cases[name].labels), voxels(dataset / "labelsTr" / f"{name}.nii.gz"))
    for name in ("tumor", "tumor2"):
        expert = voxels(dataset / "labelsTr" / f"{name}.nii.gz")
        predicted = voxels(inputs / "organs" / f"{name}.nii.gz")
        labels = voxels(cases[name].labels)
        np.testing.assert_array_equal(labels == TUMOR, expert == TUMOR)
        np.testing.assert_array_equal(labels, fill_organs(expert, predicted, (TUMOR,), CODES))
        assert set(np.unique(labels)) == {0, *FULL}
    for name in ("u1", "u2", "u3"):
        predicted = voxels(inputs / "labels" / f"{name}.nii.gz")
        labels = voxels(cases[name].labels)
        assert (labels == TUMOR).any() == (name == "u2")
        expected = predicted if name == "u2" else np.where(predicted == TUMOR, 0, predicted)
        np.testing.assert_array_equal(labels, expected)
        np.testing.assert_array_equal(voxels(cases[name].image), voxels(inputs / "images" / f"{name}_0000.nii.gz"))
    assert cases["u1"].image.is_symlink()
    assert json.loads((target / "dataset.json").read_text())["numTraining"] == 8


def test_partial_cases_are_filled_if_asked_but_never_those_that_validate(inputs: Path) -> None:
    made = merge_dataset(inputs / "dataset", pseudo(inputs, fill="partial", selection=None), inputs / "merged")
    assert made.names("filled") == ("part", "tumor", "tumor2")
    (part,) = (case for case in read_cases(inputs / "merged") if case.name == "part")
    assert part.annotated == FULL
    expert = voxels(inputs / "dataset" / "labelsTr" / "part.nii.gz")
    for code in (1, 3, TUMOR):
        np.testing.assert_array_equal(voxels(part.labels) == code, expert == code)
    none = merge_dataset(inputs / "dataset", PseudoLabels(fill="none"), inputs / "as_it_is")
    assert len(none.names("expert")) == 5


def test_classes_that_the_model_does_not_know_stay_unannotated(inputs: Path) -> None:
    known = tuple(code for code in CODES if code not in (7, 8))
    merge_dataset(inputs / "dataset", pseudo(inputs, known=known), inputs / "merged")
    for case in read_cases(inputs / "merged"):
        if case.name in {"tumor", "u1", "u2"}:
            assert case.annotated == known
            assert not set(np.unique(voxels(case.labels))) & {7, 8}
    write_spec(tiny_spec(untrained=(7, 8)), inputs)
    assert known_codes(inputs) == known
    assert known_codes(None) == CODES
    with pytest.raises(SpecError, match="not trained for tumors"):
        pseudo(inputs, known=ORGANS)


def stamps(target: Path) -> dict[str, tuple[int, int]]:
    """Of every image and label map, the link and not what it points to."""
    paths = [*(target / "imagesTr").iterdir(), *(target / "labelsTr").iterdir()]
    return {path.name: (path.lstat().st_mtime_ns, path.lstat().st_ino) for path in paths}


def test_only_what_changed_is_made_anew(inputs: Path) -> None:
    target = inputs / "merged"

    def remade() -> set[str]:
        before = stamps(target) if target.is_dir() else {}
        merge_dataset(inputs / "dataset", pseudo(inputs, selection=chosen), target)
        read_cases(target)
        after = stamps(target)
        gone = before.keys() - after.keys()
        return {name for name in after if after[name] != before.get(name)} | {f"-{name}" for name in gone}

    chosen = Selection(keep_tumor=("u2",), hosts=("u1", "u3"))
    assert len(remade()) == 16
    assert remade() == set()
    volume = read_volume(inputs / "organs" / "tumor.nii.gz")
    other = np.where(volume.array_zyx == 1, 0, volume.array_zyx).astype(np.uint8)
    write_volume(inputs / "organs" / "tumor.nii.gz", Volume(array_zyx=other, placement=volume.placement))
    assert remade() == {"tumor_0000.nii.gz", "tumor.nii.gz"}
    assert not (voxels(target / "labelsTr" / "tumor.nii.gz") == 1).any()
    chosen = Selection(keep_tumor=("u1",), hosts=("u2",))
    assert {name for name in remade() if name.startswith("u")} == {
        *("u1_0000.nii.gz", "u1.nii.gz", "u2_0000.nii.gz", "u2.nii.gz"),
    }
    assert not (target / "labelsTr" / "u3.nii.gz").exists()
    (target / "labelsTr" / "u1.nii.gz").write_bytes(b"damaged")
    assert "u1.nii.gz" in remade()
    (target / "imagesTr" / "full_0000.nii.gz").unlink()
    assert "full_0000.nii.gz" in remade()


def test_a_case_that_is_filled_later_does_not_write_through_its_link(inputs: Path) -> None:
    dataset, target = inputs / "dataset", inputs / "merged"
    before = contents(dataset)
    merge_dataset(dataset, PseudoLabels(fill="none"), target)
    assert (target / "labelsTr" / "tumor.nii.gz").is_symlink()
    merge_dataset(dataset, pseudo(inputs), target)
    assert not (target / "labelsTr" / "tumor.nii.gz").is_symlink()
    merge_dataset(dataset, PseudoLabels(fill="none"), target)
    assert (target / "labelsTr" / "tumor.nii.gz").is_symlink()
    assert contents(dataset) == before


def test_killed_in_the_middle_it_is_no_dataset_and_goes_on(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, write = inputs / "merged", merging.write_volume
    calls: list[Path] = []

    def killed(path: Path, volume: Volume) -> None:
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        write(path, volume)

    monkeypatch.setattr(merging, "write_volume", killed)
    with pytest.raises(KeyboardInterrupt):
        merge_dataset(inputs / "dataset", pseudo(inputs), target)
    with pytest.raises(ProblemsError, match=r"annotated\.json"):
        read_cases(target)
    merge_dataset(inputs / "dataset", pseudo(inputs), target)
    assert len(read_cases(target)) == 8
    assert len(calls) == 6, "five label maps, and the one that was begun"


def test_where_links_cannot_be_made_files_are_copied(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path, target: Path) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refused)
    merge_dataset(inputs / "dataset", pseudo(inputs), inputs / "merged")
    image = inputs / "merged" / "imagesTr" / "u1_0000.nii.gz"
    assert not image.is_symlink()
    assert image.read_bytes() == (inputs / "images" / image.name).read_bytes()
    before = stamps(inputs / "merged")
    merge_dataset(inputs / "dataset", pseudo(inputs), inputs / "merged")
    assert stamps(inputs / "merged") == before


def test_every_problem_is_told_at_once(inputs: Path) -> None:
    (inputs / "organs" / "tumor.nii.gz").unlink()
    selection = Selection(keep_tumor=("u4", "absent"), hosts=("full",))
    with pytest.raises(ProblemsError) as caught:
        merge_dataset(inputs / "dataset", pseudo(inputs, selection=selection), inputs / "merged")
    lines = "\n".join(caught.value.problems)
    for says in (
        f"tumor: no label map in {inputs / 'organs'}",
        f"absent: no image in {inputs / 'images'}",
        f"absent: no label map in {inputs / 'labels'}",
        "full: selected as unlabeled, but the dataset holds a case of that name",
        f"full: no image in {inputs / 'images'}",
        "case u4 trains, but its patient p validates",
    ):
        assert says in lines
    assert not (inputs / "merged").exists()


def test_label_maps_that_cannot_be_used_are_named(inputs: Path) -> None:
    volume = read_volume(inputs / "organs" / "tumor.nii.gz")
    cut = Volume(array_zyx=volume.array_zyx[:-1], placement=volume.placement)
    write_volume(inputs / "organs" / "tumor.nii.gz", cut)
    (inputs / "organs" / "tumor2.nii.gz").write_bytes(b"no image")
    empty = Volume(array_zyx=volume.array_zyx * 0, placement=volume.placement)
    write_volume(inputs / "labels" / "u1.nii.gz", empty)
    with pytest.raises(ProblemsError) as caught:
        merge_dataset(inputs / "dataset", pseudo(inputs), inputs / "merged")
    grid, unreadable, nothing = caught.value.problems
    assert "tumor.nii.gz lies on another grid than the expert's labels: shape (" in grid
    assert "tumor2.nii.gz" in unreadable
    assert "u1: the model's label map is empty" in nothing
    with pytest.raises(ProblemsError, match=r"annotated\.json"):
        read_cases(inputs / "merged")


def test_nothing_of_others_is_overwritten(inputs: Path) -> None:
    merge_dataset(inputs / "dataset", PseudoLabels(fill="none"), inputs / "merged")
    before = contents(inputs / "merged")
    with pytest.raises(UsageError, match="nothing is written into inputs"):
        merge_dataset(inputs / "merged", PseudoLabels(fill="none"), inputs / "merged")
    assert contents(inputs / "merged") == before
    (inputs / "others").mkdir()
    (inputs / "others" / "notes.txt").write_text("mine")
    for place in (inputs / "others", inputs / "others" / "notes.txt"):
        before = contents(place)
        with pytest.raises(UsageError, match="empty, not there yet, or a merged dataset"):
            merge_dataset(inputs / "dataset", pseudo(inputs), place)
        assert contents(place) == before
    with pytest.raises(UsageError, match="nothing is written into inputs"):
        merge_dataset(inputs / "dataset", pseudo(inputs), inputs)
    with pytest.raises(SpecError, match="name the folder of the fine model's organs"):
        PseudoLabels()
    with pytest.raises(SpecError, match="needs the folder of their images"):
        pseudo(inputs, images=None)


def test_from_predictions_to_a_merged_dataset_with_commands(inputs: Path) -> None:
    other = inputs / "other"
    other.mkdir()
    for path in (inputs / "labels").iterdir():
        volume = read_volume(path)
        array = volume.array_zyx.copy()
        if path.name == "u3.nii.gz":
            array[array == TUMOR] = 0
        if path.name == "u4.nii.gz":
            array[array == 1] = 0
        write_volume(other / path.name, Volume(array_zyx=array, placement=volume.placement))
    table, selection, target = inputs / "table.csv", inputs / "selection.json", inputs / "merged"
    labels = ("--organs", inputs / "labels", "--organs", other, "--tumor", inputs / "labels", "--tumor", other)
    code, stdout, _ = run(app, "uncertainty", table, *labels)
    assert code == 0
    assert "4 cases; undefined for organs of 0, for tumors of 1" in stdout
    code, stdout, _ = run(app, "select", table, selection, "--count", 3, "--with-tumor", 3)
    assert code == 0
    assert "asked for 3 with tumors, took all 2" in stdout
    assert "3 cases; tumors are kept in 2, and pasted into 1" in stdout
    merge = ("merge", inputs / "dataset", target, "--organs", inputs / "organs", "--images", inputs / "images")
    (inputs / "weights").mkdir()
    write_spec(tiny_spec(), inputs / "weights")
    from_model = ("--selection", selection, "--weights", inputs / "weights")
    code, stdout, _ = run(app, *merge, "--labels", inputs / "labels", *from_model)
    assert code == 0
    assert (
        "8 cases: 3 as experts left them, 2 with a model's organs, 2 unlabeled with tumors, 1 unlabeled hosts" in stdout
    )
    assert {case.name: case.unlabeled for case in read_cases(target)}["u3"]
    code, _, stderr = run(app, "merge", inputs / "dataset", target, "--selection", selection)
    assert code == 2
    assert "needs the folder of their images" in stderr
    write_selection(selection, Selection(keep_tumor=(), hosts=("gone", "lost")))
    code, _, stderr = run(app, *merge, "--labels", inputs / "labels", "--selection", selection)
    assert code == 2
    assert len(stderr.splitlines()) == 4
