"""Tumor objects: one for each tumor, with its surroundings, never from a validation case."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from flare_infer.errors import DatasetError, SpecError, UsageError
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.labels import KNOWN_BACKGROUND, TUMOR
from flare_infer.model.spec import Normalization
from flare_infer.volume.volume import Volume
from tests.dataset import SHAPE, SPACING_MM, make_dataset
from train.dataset.cases import Case, read_cases
from train.recipes.recipe import smoke
from train.store.extract_tumors import Margins, draw_margins, extract_objects, tumor_objects_of
from train.store.prepare import prepare_case, prepare_cases
from train.store.store import read_grid
from train.store.tumor_objects import read_objects
from train.store.tumor_sheet import draw_objects

SPEC = smoke().spec
OWN_GRID = replace(SPEC, spacing_mm=SPACING_MM)
"""A model's grid that is the scans' own: voxels can be counted."""


def spread_tumors(dataset: Path, name: str, corners: list[tuple[int, int, int]]) -> None:
    """Tumors of 2 x 2 x 2 voxels in place of those that are there, and an image that says which is which."""
    path = dataset / "labelsTr" / f"{name}.nii.gz"
    volume = read_volume(path)
    array = np.where(volume.array_zyx == TUMOR, 0, volume.array_zyx).astype(np.uint8)
    for z, y, x in corners:
        array[z : z + 2, y : y + 2, x : x + 2] = TUMOR
    write_volume(path, Volume(array_zyx=array, placement=volume.placement))


def case_of(tmp_path: Path, corners: list[tuple[int, int, int]], annotated: tuple[int, ...] = (1, 14)) -> Case:
    dataset = make_dataset(tmp_path, {"a": annotated})
    spread_tumors(dataset, "a", corners)
    (case,) = read_cases(dataset)
    return case


def test_tumors_spread_over_the_body_are_an_object_each(tmp_path: Path) -> None:
    corners = [(5, 5, 5), (5, 50, 50), (24, 32, 32), (40, 10, 50), (40, 50, 10)]
    margins = Margins(least=(1, 2, 3), most=(1, 2, 3))
    found = tumor_objects_of(case_of(tmp_path, corners), OWN_GRID, margins)
    assert [item.name for item in found] == ["a_000", "a_001", "a_002", "a_003", "a_004"]
    for item in found:
        assert item.shape == item.image_zyx.shape == (4, 6, 8)
        assert item.image_zyx.dtype == np.float16
        tumor = np.argwhere(item.labels_zyx == TUMOR)
        assert tumor.min(axis=0).tolist() == [1, 2, 3]
        assert tumor.max(axis=0).tolist() == [2, 3, 4]


def test_tumors_that_touch_at_a_corner_are_one_and_neighbors_in_the_box_stay_tumor(tmp_path: Path) -> None:
    case = case_of(tmp_path, [(20, 20, 20), (22, 22, 22), (20, 20, 26)])
    found = tumor_objects_of(case, OWN_GRID, Margins(least=(2, 2, 6), most=(2, 2, 6)))
    assert len(found) == 2
    assert np.count_nonzero(found[0].labels_zyx == TUMOR) == 24, "what is a tumor is never called background"


def test_the_box_ends_with_the_volume(tmp_path: Path) -> None:
    case = case_of(tmp_path, [(0, 0, SHAPE[2] - 2)])
    (found,) = tumor_objects_of(case, OWN_GRID, Margins(least=(3, 4, 5), most=(3, 4, 5)))
    assert found.shape == (5, 6, 7)


@pytest.mark.parametrize("spec", [SPEC, OWN_GRID])
@pytest.mark.parametrize("annotated", [(1, 14), (10, 11, 12, 14)])
def test_an_object_as_large_as_its_case_is_the_prepared_case(
    tmp_path: Path, spec: object, annotated: tuple[int, ...]
) -> None:
    """Its voxels, its labels and its known air: there is one preprocessing."""
    case = case_of(tmp_path, [(20, 30, 30)], annotated)
    everything = Margins(least=(999, 999, 999), most=(999, 999, 999))
    (found,) = tumor_objects_of(case, spec, everything)  # type: ignore[arg-type]
    prepared = prepare_case(case, spec)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found.image_zyx, np.asarray(prepared.image_zyx))
    np.testing.assert_array_equal(found.labels_zyx, np.asarray(prepared.labels_zyx))
    assert (found.labels_zyx == KNOWN_BACKGROUND).any()
    assert found.annotated == annotated


def test_known_air_of_a_small_object_is_that_of_its_place(tmp_path: Path) -> None:
    case = case_of(tmp_path, [(30, 20, 30)])
    margins = Margins(least=(9, 15, 15), most=(9, 15, 15))
    (found,) = tumor_objects_of(case, OWN_GRID, margins)
    whole = np.asarray(prepare_case(case, OWN_GRID).labels_zyx)
    inside = [range(length - own + 1) for length, own in zip(whole.shape, found.shape, strict=True)]
    places = 0
    for z, y, x in product(*inside):
        depth, rows, columns = found.shape
        there = whole[z : z + depth, y : y + rows, x : x + columns]
        places += bool(np.array_equal(there, found.labels_zyx))
    assert places == 1, "the labels of the object lie in those of the case, and in one place"
    assert (found.labels_zyx == KNOWN_BACKGROUND).any()
    assert (found.labels_zyx != KNOWN_BACKGROUND).any()


def test_margins_are_drawn_over_the_whole_of_the_papers_ranges() -> None:
    rng = np.random.default_rng(0)
    spacing = (1.0, 0.75, 0.75)
    drawn = np.array([draw_margins(Margins(), spacing, (2.5, 1.5, 1.5), rng) for _ in range(500)])
    assert set(drawn[:, 0]) == set(range(8, 17))
    assert set(drawn[:, 1]) == set(drawn[:, 2]) == set(range(24, 33))
    coarse = Margins(least=(8, 24, 24), most=(8, 24, 24), grid="coarse")
    assert draw_margins(coarse, spacing, (2.5, 1.5, 1.5), rng) == (20, 48, 48), "as many mm, in the scan's voxels"
    for wrong in ({"least": (9, 9, 9), "most": (8, 9, 9)}, {"least": (-1, 0, 0)}, {"grid": "other"}):
        with pytest.raises(SpecError, match="margins"):
            Margins(**wrong)  # type: ignore[arg-type]


def test_an_object_is_a_function_of_seed_case_and_number(tmp_path: Path) -> None:
    case = case_of(tmp_path, [(20, 20, 20), (30, 40, 40)])
    wide = Margins(least=(0, 0, 0), most=(9, 9, 9))
    shapes = [item.shape for item in tumor_objects_of(case, OWN_GRID, wide)]
    assert [item.shape for item in tumor_objects_of(case, OWN_GRID, wide)] == shapes
    assert [item.shape for item in tumor_objects_of(case, OWN_GRID, replace(wide, seed=1))] != shapes


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Tumors in three cases, a and c of which train."""
    dataset = make_dataset(tmp_path, {"a": (1, 14), "b": (1, 14), "c": (14,), "organs": (1, 2)})
    for name, count in (("a", 1), ("b", 2), ("c", 3)):
        spread_tumors(dataset, name, [(20, 10 + 10 * index, 30) for index in range(count)])
    (dataset / "splits.json").write_text(json.dumps({"validation": ["b"]}))
    return dataset


MARGINS = Margins(least=(1, 1, 1), most=(3, 3, 3))


def test_no_object_ever_comes_from_a_validation_case(dataset: Path, tmp_path: Path) -> None:
    folder, cases = tmp_path / "objects", read_cases(dataset)
    extract_objects(cases, SPEC, MARGINS, folder)
    found = read_objects(folder, ["b"])
    assert [item.case for item in found] == ["a", "c", "c", "c"]
    assert [item.annotated for item in found] == [(1, 14), (14,), (14,), (14,)], "each its own annotated set"
    with pytest.raises(UsageError, match="b: a validation case"):
        tumor_objects_of(cases[1], SPEC, MARGINS)

    (dataset / "splits.json").write_text(json.dumps({"validation": ["c"]}))
    with pytest.raises(DatasetError, match="validation cases: c;"):
        read_objects(folder, ["c"])
    extract_objects(read_cases(dataset), SPEC, MARGINS, folder)
    assert [item.case for item in read_objects(folder, ["c"])] == ["a", "b", "b"], "those of c are gone"


def test_objects_are_kept_until_something_changes(dataset: Path, tmp_path: Path) -> None:
    folder, cases = tmp_path / "objects", read_cases(dataset)
    extract_objects(cases, SPEC, MARGINS, folder)
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/seal.json")}
    assert len(before) == 2
    spread_tumors(dataset, "c", [(20, 20, 30)])
    extract_objects(cases, SPEC, MARGINS, folder)
    changed = [path.parent.name for path, stamp in before.items() if path.stat().st_mtime_ns != stamp]
    assert changed == ["c"]
    assert len(read_objects(folder)) == 2


def test_a_damaged_object_is_named_and_cut_out_again(dataset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "objects"
    extract_objects(read_cases(dataset), SPEC, MARGINS, folder)
    intact = np.asarray(read_objects(folder)[1].image_zyx).copy()
    path = folder / "c" / "000_image.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"c/000_image\.npy: damaged"):
        read_objects(folder)
    extract_objects(read_cases(dataset), SPEC, MARGINS, folder)
    np.testing.assert_array_equal(read_objects(folder)[1].image_zyx, intact)


def test_objects_of_another_normalization_are_not_pasted(dataset: Path, tmp_path: Path) -> None:
    folder, store, cases = tmp_path / "objects", tmp_path / "store", read_cases(dataset)
    extract_objects(cases, SPEC, MARGINS, folder)
    prepare_cases(cases, SPEC, store)
    assert len(read_objects(folder, ["b"], read_grid(store))) == 4
    measured = Normalization(clip_low_hu=-50.0, clip_high_hu=200.0, mean_hu=60.0, std_hu=30.0)
    prepare_cases(cases, replace(SPEC, normalization=measured), store, replacing=True)
    with pytest.raises(DatasetError, match="another normalization than the prepared cases"):
        read_objects(folder, ["b"], read_grid(store))


def test_a_dataset_without_tumors_has_no_objects(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"organs": (1, 2)})
    with pytest.raises(UsageError, match="no case that trains annotates tumors"):
        extract_objects(read_cases(dataset), SPEC, MARGINS, tmp_path / "objects")
    with pytest.raises(DatasetError, match="no tumor object here"):
        read_objects(tmp_path / "objects")


def test_a_store_is_not_mistaken_for_a_folder_of_objects(dataset: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    prepare_cases(read_cases(dataset), SPEC, store)
    with pytest.raises(UsageError, match="no tumor objects"):
        extract_objects(read_cases(dataset), SPEC, MARGINS, store)
    assert len(list(store.glob("*/image.b2nd"))) == 4


def test_the_sheet_shows_the_first_of_every_case_first(dataset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "objects"
    extract_objects(read_cases(dataset), SPEC, MARGINS, folder)
    found = read_objects(folder)
    both = draw_objects(found, SPEC, most=2)
    chosen = draw_objects([found[0], found[1]], SPEC)
    assert np.array_equal(np.asarray(both), np.asarray(chosen)), "a_000 and c_000"
    assert (np.asarray(both) == (255, 50, 236)).all(axis=-1).any(), "tumors are outlined"
