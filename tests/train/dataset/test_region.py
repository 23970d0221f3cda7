"""The abdominal region: one notion for cleaning and pasting, kept with a prepared case."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flare_infer.labels import AORTA, ESOPHAGUS, KNOWN_BACKGROUND, LIVER, SPLEEN, TUMOR
from tests.dataset import make_dataset
from train.dataset.cases import read_cases
from train.dataset.clean import tumor_region
from train.dataset.region import abdominal_region
from train.recipes.recipe import smoke
from train.store.prepare import prepare_cases
from train.store.sealed import sealed_folder
from train.store.store import PreparedCase, read_store, region_of, write_case


def chest() -> np.ndarray:
    """Liver and spleen below, aorta and esophagus up to the top, a tumor and known air outside of all."""
    labels = np.zeros((30, 12, 12), dtype=np.uint8)
    labels[2:8, 3:6, 2:5] = LIVER
    labels[4:10, 4:7, 7:9] = SPLEEN
    labels[1:30, 9, 6] = AORTA
    labels[9:28, 8, 5] = ESOPHAGUS
    labels[20, 0, 0] = TUMOR
    labels[29, 11, 11] = KNOWN_BACKGROUND
    return labels


ABDOMEN = (slice(2, 10), slice(3, 7), slice(2, 9))
TUBES = (slice(1, 30), slice(8, 10), slice(5, 7))


def test_tubes_do_not_take_the_chest_into_the_region() -> None:
    labels = chest()
    assert abdominal_region(labels) == ABDOMEN
    assert tumor_region(labels, (1.0, 1.0, 1.0), margin_mm=0.0) == ABDOMEN, "pasting and cleaning mean the same"


def test_a_case_that_annotates_only_tubes_has_their_box() -> None:
    labels = chest()
    labels[np.isin(labels, (LIVER, SPLEEN))] = 0
    assert abdominal_region(labels, (AORTA, ESOPHAGUS)) == TUBES
    assert abdominal_region(labels, (AORTA, ESOPHAGUS, TUMOR)) == TUBES
    assert abdominal_region(labels, (LIVER, AORTA, ESOPHAGUS)) is None, "the liver was looked for and is not in view"


def test_no_organ_no_region() -> None:
    labels = np.zeros((4, 4, 4), dtype=np.uint8)
    labels[0, 0, 0], labels[3, 3, 3] = TUMOR, KNOWN_BACKGROUND
    assert abdominal_region(labels) is None
    assert abdominal_region(labels, (AORTA,)) is None


def test_the_region_is_kept_with_the_prepared_case(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": (LIVER, SPLEEN, AORTA, ESOPHAGUS), "t": (TUMOR,), "x": (AORTA,)})
    prepare_cases(read_cases(dataset), smoke().spec, tmp_path / "store")
    for case in read_store(tmp_path / "store"):
        expected = abdominal_region(np.asarray(case.labels_zyx), case.annotated)
        assert case.region == region_of(case) == expected
        assert (case.region is None) == (case.name == "t")
        assert case.region is None or all(type(part.start) is int for part in case.region)
        # A case of an earlier version, which did not say.
        assert region_of(replace(case, region=None)) == expected


def test_a_region_that_is_known_costs_no_reading() -> None:
    class Unread:
        shape = (30, 12, 12)

        def __array__(self, *args: object, **kwargs: object) -> np.ndarray:
            raise AssertionError("the labels were read")

    where = np.zeros((1, 3), dtype=np.int32)
    case = PreparedCase(
        name="a",
        annotated=(LIVER,),
        image_zyx=np.zeros((30, 12, 12), np.float16),
        labels_zyx=Unread(),  # type: ignore[arg-type]
        locations={LIVER: where},
        region=ABDOMEN,
    )
    assert region_of(case) == ABDOMEN
    assert region_of(replace(case, region=None, locations={TUMOR: where})) is None, "no organ, no region"
    with pytest.raises(AssertionError, match="were read"):
        region_of(replace(case, region=None))


def test_a_store_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    labels = chest()
    case = PreparedCase(
        name="a",
        annotated=(LIVER, SPLEEN, AORTA, ESOPHAGUS, TUMOR),
        image_zyx=labels.astype(np.float16),
        labels_zyx=labels,
        locations={LIVER: np.argwhere(labels == LIVER).astype(np.int32)},
    )
    write_case(tmp_path / "written", case, {})
    with sealed_folder(tmp_path / "store" / "a") as part:
        for path in (tmp_path / "written" / "a").iterdir():
            if path.name != "seal.json":
                (part / path.name).write_bytes(path.read_bytes())
        description = json.loads((part / "case.json").read_text())
        del description["region"]
        (part / "case.json").write_text(json.dumps(description))
    (tmp_path / "store" / "store.json").write_text('{"training": ["a"], "validation": [], "grid": {}}')
    (read,) = read_store(tmp_path / "store")
    assert read.region is None
    assert region_of(read) == ABDOMEN
