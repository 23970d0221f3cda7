"""The shipped weights on the demo's CT; runs wherever the package index is reached.

They were trained on this CT among others, so nothing here says how good they are: that is for
`benchmarks/leave_patients_out.py`. What is seen here is that the file in the repository is what was trained.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from flare_eval.accuracy.dice import dice_of_masks
from flare_infer.formats.volume_io import read_volume
from flare_infer.labels import AORTA, LEFT_KIDNEY, LIVER, RIGHT_KIDNEY, SPLEEN
from flare_infer.model.model_file import read_model_file
from flare_infer.model.weights import load_networks, save_model
from flare_infer.segment.segmenter import Segmenter
from flare_infer.volume.volume import Volume
from tests.real_data import CHECKOUT, real_data
from tests.script import load_script

LITE = CHECKOUT / "weights" / "lite"

TOTALSEGMENTATOR = {SPLEEN: 1, RIGHT_KIDNEY: 2, LEFT_KIDNEY: 3, LIVER: 5, AORTA: 52}
"""Our codes to the class numbers of the reference mask (TotalSegmentator v2, task `total`)."""


@pytest.fixture(scope="module")
def demo_case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Volume, npt.NDArray[np.uint8]]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        case = load_script("demo_ct", monkeypatch).fetch(tmp_path_factory.mktemp("demo"))
    if case is None:
        pytest.skip("the demo's CT cannot be downloaded: no network")
    return read_volume(case.ct), read_volume(case.mask).array_zyx


def shuffled(folder: Path) -> Path:
    """The shipped model with the same numbers in every tensor, in another order."""
    generator = torch.Generator().manual_seed(0)
    spec, networks = load_networks(LITE, torch.device("cpu"))
    for tensor in networks[0].state_dict().values():
        order = torch.randperm(tensor.numel(), generator=generator)
        tensor.copy_(tensor.flatten()[order].reshape(tensor.shape))
    save_model(folder, spec, *networks)
    return folder


def unchanged(folder: Path) -> Path:
    return LITE


@pytest.mark.slow
@pytest.mark.parametrize(("change", "good"), [(unchanged, True), (shuffled, False)])
def test_the_demos_ct_is_segmented_by_what_was_learned(
    demo_case: tuple[Volume, npt.NDArray[np.uint8]], tmp_path: Path, change: Callable[[Path], Path], good: bool
) -> None:
    scan, mask = demo_case
    found = Segmenter.load(change(tmp_path)).segment(scan).labels.array_zyx
    scores = {code: dice_of_masks(found == code, mask == theirs) for code, theirs in TOTALSEGMENTATOR.items()}
    assert (scores[LIVER] >= 0.93) == good, scores
    assert (min(scores[RIGHT_KIDNEY], scores[LEFT_KIDNEY]) >= 0.80) == good, scores
    assert (scores[SPLEEN] >= 0.75) == good, scores


def test_the_record_says_what_was_trained_on() -> None:
    training = read_model_file(LITE).spec.training
    real = [name for name in training["cases"] if not name.startswith("torso_")]
    unlabeled = {"hcc002_p1", "hcc007post_p1", "hcc011_p1", "hcc015_p1", "torso3mm"}
    assert training["pseudo_labeled"].keys() == unlabeled, "the card says so"
    assert len(set(real) - unlabeled) == 16
    assert "lidc_chest" in real, "the demo, the card and the README say so"
    assert all(name.startswith("painted_") for name in training["started_from"]["training"]["cases"])


@pytest.mark.slow
def test_left_and_right_kidney_are_not_swapped_on_a_case_of_the_training_set() -> None:
    data = real_data() / "ct"
    scan = read_volume(data / "hcc006_p3_0000.nii.gz")
    found = Segmenter.load(LITE).segment(scan).labels.array_zyx
    reference = read_volume(data / "hcc006_p3_labels.nii.gz").array_zyx
    for code, other in ((RIGHT_KIDNEY, LEFT_KIDNEY), (LEFT_KIDNEY, RIGHT_KIDNEY)):
        assert dice_of_masks(found == code, reference == code) > 0.8
        assert np.count_nonzero((found == other) & (reference == code)) < 0.01 * np.count_nonzero(reference == code)
