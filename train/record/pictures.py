"""Pictures of validation cases: the truth beside the prediction."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from flare_infer.files.write_whole import remove_parts, whole_file
from flare_infer.geometry import Box
from flare_infer.label_set import LabelSet
from flare_infer.model.spec import ModelSpec
from flare_infer.results.picture import soft_tissue
from train.dataset.contact_sheet import colored
from train.store.store import PreparedCase

PICTURES_FOLDER: Final = "pictures"
_PANEL: Final = 480
_GAP: Final = 6


def draw_overlay(
    case: PreparedCase, truth_zyx: npt.NDArray[np.uint8], predicted_zyx: npt.NDArray[np.uint8], spec: ModelSpec
) -> npt.NDArray[np.uint8]:
    """Draw an axial slice three times: without labels, with the truth, with the prediction.

    The slice depends on the truth only, so that pictures of one case can be compared: it shows most tumor, or most
    classes. In the model's own orientation anterior is up and the patient's right is on the left.

    Args:
        case: the prepared case.
        truth_zyx: its codes (z, y, x).
        predicted_zyx: codes of the prediction (z, y, x).
        spec: specification of the model.

    Returns:
        the picture (rows, columns, 3).
    """
    z = _slice_to_show(truth_zyx, spec.label_set)
    image_yx = np.asarray(case.image_zyx[Box.at((z, 0, 0), (1, *case.shape[1:]))])[0].astype(np.float32)
    gray_yx = soft_tissue(image_yx * spec.normalization.std_hu + spec.normalization.mean_hu)
    shown = (np.zeros_like(truth_zyx[z]), truth_zyx[z], predicted_zyx[z])
    fine = max(1, _PANEL // max(gray_yx.shape))
    panels = [
        colored(_enlarged(gray_yx, fine), _enlarged(codes, fine), spec.spacing_mm[1:], None, spec.label_set)
        for codes in shown
    ]
    gap = np.zeros((panels[0].shape[0], _GAP, 3), dtype=np.uint8)
    return np.concatenate((panels[0], gap, panels[1], gap, panels[2]), axis=1)


def _enlarged(pixels: npt.NDArray[np.uint8], times: int) -> npt.NDArray[np.uint8]:
    """Each pixel repeated to a square of `times` x `times` pixels, so that outlines are thin."""
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


class PictureFolder:
    """The folder of a run's pictures, `STEP_CASE.png`: for each case the last one and that of the best network.

    Args:
        run: folder of the run.
    """

    def __init__(self, run: Path) -> None:
        self._folder = run / PICTURES_FOLDER
        remove_parts(self._folder, "*.part")

    def keep(self, step: int, best_step: int, pictures: Mapping[str, npt.NDArray[np.uint8]]) -> None:
        """Write the pictures of a validation and remove those that are neither the last nor the best network's."""
        if not pictures:
            return
        from PIL import Image

        self._folder.mkdir(exist_ok=True)
        for case, pixels in pictures.items():
            with whole_file(self._folder / f"{step:06d}_{case}.png") as part:
                Image.fromarray(pixels).save(part, format="PNG")
        for path in self._folder.glob("*.png"):
            number, _, case = path.stem.partition("_")
            if case in pictures and number.isdecimal() and int(number) not in {step, best_step}:
                path.unlink()


def _slice_to_show(truth_zyx: npt.NDArray[np.uint8], label_set: LabelSet) -> int:
    codes = label_set.codes
    tumor = np.count_nonzero(np.isin(truth_zyx, label_set.lesion_codes), axis=(1, 2))
    if tumor.any():
        return int(np.argmax(tumor))
    classes = np.stack([(truth_zyx == code).any(axis=(1, 2)) for code in codes]).sum(axis=0)
    voxels = np.isin(truth_zyx, codes).sum(axis=(1, 2))
    return int(np.lexsort((voxels, classes))[-1])
