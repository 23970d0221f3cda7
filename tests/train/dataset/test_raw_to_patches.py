"""From nnU-Net's raw layout to patch centers."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flare_infer.errors import DatasetError, SpecError
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.labels import KNOWN_BACKGROUND, NAMES
from flare_infer.model.spec import Interpolation
from flare_infer.segment.preprocess import preprocess
from flare_infer.volume.orient import turn
from flare_infer.volume.volume import Placement, Volume
from tests.dataset import add_case, make_dataset
from train.dataset.cases import read_cases, untrained_codes
from train.dataset.clean import CleaningRules
from train.recipes.recipe import smoke
from train.sampling.sampler import CenterSampler, Sampling, sample_generator
from train.store.air import known_air
from train.store.prepare import case_key, mark_air, prepare_case, prepare_cases
from train.store.store import PreparedCase, read_store

SPEC = smoke().spec


def test_a_dataset_is_read(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": (1, 14), "b": (2, 3)})
    cases = read_cases(dataset)
    assert [(case.name, case.annotated) for case in cases] == [("a", (1, 14)), ("b", (2, 3))]
    assert untrained_codes([case.annotated for case in cases]) == (4, 5, 6, 7, 8, 9, 10, 11, 12, 13)


def test_a_default_covers_the_unlisted(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": (1, 14), "b": (2,)})
    (dataset / "annotated.json").write_text(json.dumps({"default": [1, 14], "b": [2]}))
    assert [case.annotated for case in read_cases(dataset)] == [(1, 14), (2,)]


def test_everything_wrong_is_named_at_once(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": (1,), "b": (2,), "c": (3,), "d": (3,)})
    (dataset / "labelsTr" / "a.nii.gz").unlink()
    (dataset / "imagesTr" / "b_0000.nii.gz").unlink()
    (dataset / "annotated.json").write_text(json.dumps({"a": [1], "b": [2], "d": []}))
    with pytest.raises(DatasetError) as caught:
        read_cases(dataset)
    says = str(caught.value)
    assert "a: an image without a label map" in says
    assert "b: a label map without an image" in says
    assert "case c is not listed" in says
    assert "d: annotates no class" in says


@pytest.mark.parametrize("file", ["dataset.json", "annotated.json"])
def test_a_missing_description_is_named(tmp_path: Path, file: str) -> None:
    dataset = make_dataset(tmp_path, {"a": (1,)})
    (dataset / file).unlink()
    with pytest.raises(DatasetError, match=file):
        read_cases(dataset)


def test_labels_beyond_the_challenges_are_refused(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": (1,)})
    (dataset / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "skin": 99}}))
    with pytest.raises(DatasetError, match=r'code 99 is "skin", the challenge has no 99.*--map FILE'):
        read_cases(dataset)


def test_preparation_is_the_preprocessing_of_inference(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": tuple(range(1, 15))})
    (case,) = read_cases(dataset)
    prepared = prepare_case(case, SPEC)
    turned, _ = turn(read_volume(case.image), SPEC.orientation, SPEC.transpose)
    image = preprocess(turned, SPEC, torch.device("cpu"))
    np.testing.assert_array_equal(prepared.image_zyx, image.numpy().astype(np.float16))
    assert prepared.shape == prepared.image_zyx.shape
    for code, where in prepared.locations.items():
        assert (prepared.labels_zyx[tuple(where.T)] == code).all()
    assert {1, 2, 3, 13} <= prepared.locations.keys()


def test_labels_are_turned_with_the_image(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": (1, 2, 13)})
    (case,) = read_cases(dataset)
    before = prepare_case(case, SPEC)
    for path in (case.image, case.labels):
        turned, _ = turn(read_volume(path), "LPS")
        flipped = Placement(
            spacing_mm=turned.placement.spacing_mm,
            origin_mm=turned.placement.origin_mm,
            axes=((0.0, 0.0, -1.0), (0.0, -1.0, 0.0), (1.0, 0.0, 0.0)),
        )
        write_volume(path, Volume(array_zyx=np.ascontiguousarray(turned.array_zyx[::-1, ::-1]), placement=flipped))
    after = prepare_case(case, SPEC)
    np.testing.assert_array_equal(after.image_zyx, before.image_zyx)
    np.testing.assert_array_equal(after.labels_zyx, before.labels_zyx)


def test_image_and_labels_must_share_a_grid(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": (1,), "b": (1,), "good": (1,)})
    for name, change in (("a", {"spacing_mm": (9.0, 9.0, 9.0)}), ("b", {"origin_mm": (50.0, 0.0, 0.0)})):
        path = dataset / "labelsTr" / f"{name}.nii.gz"
        volume = read_volume(path)
        moved = Placement(**(vars(volume.placement) | change))
        write_volume(path, Volume(array_zyx=volume.array_zyx, placement=moved))
    store = tmp_path / "store"
    with pytest.raises(DatasetError, match=r"a: image and labels lie on different grids.*b: image and labels"):
        prepare_cases(read_cases(dataset), SPEC, store)
    assert [case.name for case in read_store(store)] == ["good"]


def test_a_label_that_is_not_annotated_is_refused(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": (1, 2)})
    (dataset / "annotated.json").write_text(json.dumps({"a": [1]}))
    (case,) = read_cases(dataset)
    with pytest.raises(DatasetError, match=r"labels hold 2 right kidney.*only 1 liver"):
        prepare_case(case, SPEC)


def test_prepared_cases_are_kept_until_something_changes(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": (1,), "b": (2,)})
    store = tmp_path / "store"
    prepare_cases(read_cases(dataset), SPEC, store)
    stamps = {path: path.stat().st_mtime_ns for path in store.glob("*/image.b2nd")}
    add_case(dataset, "b", (2, 3), seed=9)
    prepare_cases(read_cases(dataset), SPEC, store)
    changed = {path.parent.name for path in store.glob("*/image.b2nd") if stamps[path] != path.stat().st_mtime_ns}
    assert changed == {"b"}
    assert [case.annotated for case in read_store(store)] == [(1,), (2, 3)]


def test_a_folder_without_a_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no prepared case"):
        read_store(tmp_path)


def air_phantom() -> np.ndarray:
    """A body with lung, stomach gas and a table below it, at 10 mm."""
    image = np.full((20, 30, 30), -1000, dtype=np.float32)
    image[:, 5:25, 5:25] = 40
    image[10:19, 8:14, 8:14] = -850  # lung, 324 mL
    image[2:8, 8:14, 16:22] = -990  # gas in the stomach, 216 mL
    image[:, 28, :] = 200  # table
    return image


def test_known_air_is_outside_and_lung_but_not_gas() -> None:
    image = air_phantom()
    known = known_air(image, (10.0, 10.0, 10.0), annotated=(1, 2))
    assert known[image == -1000].all()
    assert known[:, 28].all(), "the table is no organ"
    assert known[image == -850].all()
    assert not known[image == -990].any(), "the stomach is not annotated: this may be it"
    assert not known[image == 40].any()


def test_gas_is_known_where_hollow_organs_are_annotated() -> None:
    image = air_phantom()
    known = known_air(image, (10.0, 10.0, 10.0), annotated=(10, 11, 12))
    assert known[image == -990].all()
    assert not known[image == 40].any()


def test_all_air_is_known_air() -> None:
    assert known_air(np.full((3, 4, 5), -1000, dtype=np.float32), (1.0, 1.0, 1.0), ()).all()


def test_known_air_never_overwrites_a_label(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": (1, 11)})
    (case,) = read_cases(dataset)
    prepared = prepare_case(case, SPEC)
    assert set(np.unique(prepared.labels_zyx)) == {0, 1, 11, KNOWN_BACKGROUND}
    corner = prepared.labels_zyx[0, 0, 0]
    assert corner == KNOWN_BACKGROUND


def toy_cases() -> list[PreparedCase]:
    """Class 1 in all nine cases, class 2 in one of them."""
    cases = []
    for index in range(9):
        codes = {1: [[5, 5, 5]]} | ({2: [[0, 9, 3]]} if index == 0 else {})
        cases.append(
            PreparedCase(
                name=str(index),
                annotated=(1, 2),
                image_zyx=np.zeros((10, 10, 10), dtype=np.float16),
                labels_zyx=np.zeros((10, 10, 10), dtype=np.uint8),
                locations={code: np.asarray(where, dtype=np.int32) for code, where in codes.items()},
            )
        )
    return cases


@pytest.mark.parametrize(("balance", "rare"), [(1.0, 1 / 10), (0.5, 1 / 4), (0.0, 1 / 2)])
def test_foreground_is_drawn_with_probability_07_and_classes_by_balance(balance: float, rare: float) -> None:
    sampler = CenterSampler(toy_cases(), Sampling(balance=balance), (4, 4, 4))
    draws = [sampler.draw(sample_generator(0, step, 0)) for step in range(6000)]
    codes = np.asarray([draw.code for draw in draws])
    assert np.mean(codes > 0) == pytest.approx(0.7, abs=0.02)
    assert np.mean(codes[codes > 0] == 2) == pytest.approx(rare, abs=0.02)


def test_centers_lie_on_their_class_and_patches_inside_the_case() -> None:
    sampler = CenterSampler(toy_cases(), Sampling(foreground=1.0), (4, 5, 12))
    for step in range(50):
        draw = sampler.draw(sample_generator(0, step, 0))
        z, y, x = draw.voxel
        assert x == 4.5, "an axis shorter than the patch is seen whole"
        assert (z, y) == ((5.0, 5.0) if draw.code == 1 else (1.5, 7.0))


def test_jitter_keeps_the_voxel_in_the_patch() -> None:
    sampler = CenterSampler(toy_cases(), Sampling(foreground=1.0, jitter=0.25, balance=0.0), (4, 4, 4))
    draws = [sampler.draw(sample_generator(0, step, 0)) for step in range(200)]
    offsets = np.asarray([np.subtract(draw.voxel, 5) for draw in draws if draw.code == 1])
    assert np.abs(offsets).max() <= 1
    assert offsets.std() > 0.3


def test_a_sample_is_a_function_of_seed_step_and_index() -> None:
    sampler = CenterSampler(toy_cases(), Sampling(foreground=0.0), (4, 4, 4))
    assert sampler.draw(sample_generator(1, 2, 3)).voxel == sampler.draw(sample_generator(1, 2, 3)).voxel
    assert sampler.draw(sample_generator(1, 2, 3)).voxel != sampler.draw(sample_generator(1, 2, 4)).voxel
    with pytest.raises(SpecError, match="foreground"):
        Sampling(foreground=1.5)


def test_names_have_one_entry_a_code() -> None:
    assert len(set(NAMES)) == len(NAMES) == 15


def test_an_edited_annotated_json_prepares_the_case_again(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": (1,), "b": (2,)})
    store = tmp_path / "store"
    prepare_cases(read_cases(dataset), SPEC, store)
    (dataset / "annotated.json").write_text(json.dumps({"a": [1], "b": [2, 5]}))  # no file of a case was touched
    prepare_cases(read_cases(dataset), SPEC, store)
    assert [case.annotated for case in read_store(store)] == [(1,), (2, 5)]


def test_a_prepared_case_depends_on_its_files_its_classes_and_the_grid(tmp_path: Path) -> None:
    (case,) = read_cases(make_dataset(tmp_path, {"a": (1, 2)}))
    key = case_key(case, SPEC)
    assert case_key(case, SPEC) == key
    assert json.loads(json.dumps(key)) == key, "as JSON reads it back"
    assert case_key(replace(case, annotated=(1, 2, 3)), SPEC) != key
    brighter = replace(SPEC.normalization, mean_hu=SPEC.normalization.mean_hu + 1)
    others = {
        "spacing_mm": (2.0, 2.0, 2.0),
        "orientation": "RAS",
        "transpose": (0, 2, 1),
        "image_interpolation": Interpolation(order=3),
        "normalization": brighter,
    }
    for name, value in others.items():
        assert case_key(case, replace(SPEC, **{name: value})) != key, name
    assert case_key(case, SPEC, CleaningRules()) != key
    assert case_key(replace(case, validation=True), SPEC, CleaningRules()) == key, "validation cases are never cleaned"
    for path in (case.image, case.labels):
        before = path.stat()
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1000))
        assert case_key(case, SPEC) != key, "the same size, written anew"
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        content = path.read_bytes()
        path.write_bytes(content + b"\0")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert case_key(case, SPEC) != key, "another size at the same time"
        path.write_bytes(content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert case_key(case, SPEC) == key


def test_places_of_every_annotated_class_are_kept(tmp_path: Path) -> None:
    (case,) = read_cases(make_dataset(tmp_path, {"a": (1, 2, 14)}))
    prepared = prepare_case(case, SPEC)
    assert set(prepared.locations) == {1, 2, 14}
    for code, where in prepared.locations.items():
        assert (prepared.labels_zyx[tuple(where.T)] == code).all()


def test_air_is_marked_where_nothing_is_labeled_only() -> None:
    labels_zyx = np.array([[[0, 0, 1, 1, 14]]], dtype=np.uint8)
    mark_air(labels_zyx, np.array([[[True, False, True, False, True]]]))
    assert labels_zyx.tolist() == [[[KNOWN_BACKGROUND, 0, 1, 1, 14]]]


def test_gas_may_be_any_hollow_organ_that_is_not_annotated() -> None:
    image = air_phantom()
    for annotated in ((1, 11), (1, 10, 12), (10, 11)):
        assert not known_air(image, (10.0, 10.0, 10.0), annotated)[image == -990].any(), annotated
    assert known_air(image, (10.0, 10.0, 10.0), (10, 11, 12))[image == -990].all()
