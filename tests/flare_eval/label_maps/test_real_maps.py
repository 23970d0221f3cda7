"""Real label maps, deformed by known shifts and erosions: identical to the package and to the organizers' formulas."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.organizers import nsd, score_maps
from flare_eval.accuracy.classes import TOLERANCES_MM
from flare_eval.accuracy.mode import Mode
from flare_eval.accuracy.protocol import score_class
from flare_eval.accuracy.surface import surface_dice
from flare_eval.label_maps.boxes import joint_boxes
from flare_infer import labels
from flare_infer.formats.volume_io import read_volume
from flare_infer.volume.volume import Volume
from tests.real_data import real_data

SHIFTS = ((0, 1, -1), (1, 3, 2))


@pytest.fixture(scope="module")
def data() -> Path:
    return real_data()


def eroded(codes: np.ndarray) -> np.ndarray:
    kept = np.zeros_like(codes)
    for code in np.unique(codes[codes > 0]):
        kept[ndimage.binary_erosion(codes == code)] = code
    return kept


def deformed(volume: Volume) -> list[np.ndarray]:
    return [*(np.roll(volume.array_zyx, shift, axis=(0, 1, 2)) for shift in SHIFTS), eroded(volume.array_zyx)]


def around(volume: Volume) -> Volume:
    """The labels with a margin wider than any shift: what lies beyond changes nothing and costs time."""
    box = tuple(
        slice(max(0, side.start - 4), side.stop + 4)
        for side in ndimage.find_objects((volume.array_zyx > 0).astype(np.uint8))[0]
    )
    return Volume(array_zyx=volume.array_zyx[box], placement=volume.placement)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["crlm1004", "torso3mm_slab", "hcc011_p3"])
def test_official_mode_is_the_organizers(data: Path, name: str) -> None:
    volume = around(read_volume(data / "ct" / f"{name}_labels.nii.gz"))
    reference = volume.array_zyx.astype(np.uint8)
    spacing_mm = volume.placement.spacing_mm
    for prediction in deformed(volume)[1:]:
        expected = score_maps(prediction.T, reference.T, list(spacing_mm[::-1]))
        for code in labels.CODES:
            score = score_class(prediction.astype(np.uint8), reference, code, spacing_mm, Mode.OFFICIAL)
            np.testing.assert_allclose((score.dsc, score.nsd), expected[code], rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("labels/organs8/organs8_007.nii.gz", (labels.PANCREAS, labels.GALLBLADDER, labels.ESOPHAGUS)),
        ("labels/pancreas", (labels.PANCREAS,)),
        ("labels/liver_tumor", (labels.TUMOR,)),
    ],
)
def test_nsd_is_that_of_the_package(data: Path, name: str, codes: tuple[int, ...]) -> None:
    path = data / name
    volume = read_volume(path if path.is_file() else sorted(path.glob("*.nii.gz"))[0])
    spacing_mm = volume.placement.spacing_mm
    for code in codes:
        reference = around(Volume(array_zyx=(volume.array_zyx == code).astype(np.uint8), placement=volume.placement))
        for prediction in deformed(reference):
            box = joint_boxes(prediction, reference.array_zyx)[1]
            masks = (prediction[box] == 1, reference.array_zyx[box] == 1)
            expected = nsd(*masks, list(spacing_mm), TOLERANCES_MM[code])
            assert surface_dice(*masks, spacing_mm, TOLERANCES_MM[code]) == pytest.approx(expected, abs=1e-6)
