"""A contact sheet of tumor objects."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from flare_infer.model.spec import ModelSpec
from flare_infer.results.picture import soft_tissue
from train.dataset.contact_sheet import Tile, colored, draw_sheet
from train.store.tumor_objects import TumorObject

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


def draw_objects(objects: Sequence[TumorObject], spec: ModelSpec, most: int = 36) -> "Picture":
    """Draw objects, each on the slice that shows most tumor; the first of every case before the second of any.

    Args:
        objects: the objects, at least one.
        spec: specification of the model on whose grid they lie.
        most: largest number of objects to draw.

    Raises:
        FlareError: if Pillow is not installed.
    """
    turns: dict[str, int] = {}
    order = []
    for number, item in enumerate(objects):
        turns[item.case] = turns.get(item.case, 0) + 1
        order.append((turns[item.case], number))
    return draw_sheet([_tile(objects[number], spec) for _, number in sorted(order)[:most]], columns=4)


def _tile(item: TumorObject, spec: ModelSpec) -> Tile:
    labels_zyx = np.asarray(item.labels_zyx)
    z = int(np.argmax((labels_zyx == item.code).sum(axis=(1, 2))))
    normalization = spec.normalization
    hounsfield = np.asarray(item.image_zyx)[z].astype(np.float32) * normalization.std_hu + normalization.mean_hu
    gray, codes = soft_tissue(hounsfield), labels_zyx[z]
    spacing_mm = spec.spacing_mm[1:]
    volume_ml = np.count_nonzero(labels_zyx == item.code) * float(np.prod(spec.spacing_mm)) / 1000
    size = " x ".join(str(length) for length in item.shape)
    return Tile(
        panels=(
            colored(gray, np.zeros_like(codes), spacing_mm),
            colored(gray, codes, spacing_mm, label_set=spec.label_set),
        ),
        caption=f"{item.name}\n{size}, {spec.label_set.names[item.code]} {volume_ml:.2f} mL",
    )
