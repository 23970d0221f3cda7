"""A store of painted cases so small that a validation takes no time."""

from pathlib import Path

import numpy as np

from flare_infer.model.spec import ModelSpec
from train.store.prepare import grid_key
from train.store.store import PreparedCase, begin_store, finish_store, write_case

SHAPE = (16, 20, 24)


def make_store(
    store: Path, spec: ModelSpec, training: dict[str, tuple[int, ...]], validation: dict[str, tuple[int, ...]]
) -> Path:
    """Write cases that hold a box of each class they annotate."""
    begin_store(store)
    for seed, (name, annotated) in enumerate((training | validation).items()):
        write_case(store, paint_case(name, annotated, seed), {"seed": seed})
    finish_store(store, training, validation, grid_key(spec))
    return store


def paint_case(name: str, annotated: tuple[int, ...], seed: int) -> PreparedCase:
    rng = np.random.default_rng(seed)
    labels_zyx = np.zeros(SHAPE, dtype=np.uint8)
    for code in annotated:
        z, y, x = (int(rng.integers(0, length - 8)) for length in SHAPE)
        labels_zyx[z : z + 8, y : y + 8, x : x + 8] = code
    image_zyx = (rng.normal(size=SHAPE) * 0.3 + labels_zyx / 10).astype(np.float16)
    present = [code for code in annotated if (labels_zyx == code).any()]
    locations = {code: np.argwhere(labels_zyx == code).astype(np.int32) for code in present}
    return PreparedCase(name=name, annotated=annotated, image_zyx=image_zyx, labels_zyx=labels_zyx, locations=locations)
