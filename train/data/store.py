"""Prepared cases on disk: one folder a case, read patch-wise through memory maps."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flare_infer.errors import DatasetError
from flare_infer.geometry import Shape, triple_of_ints

LOCATIONS_PER_CLASS: Final = 10_000
"""Foreground voxels kept for each class of a case, from which patch centers are drawn."""

_DESCRIPTION: Final = "case.json"
_PART_SUFFIX: Final = ".part"


@dataclass(frozen=True, kw_only=True)
class PreparedCase:
    """One case on the model's grid.

    Attributes:
        name: case name.
        annotated: codes its labels say something about.
        image_zyx: normalized image, float16.
        labels_zyx: codes as uint8, KNOWN_BACKGROUND where every class is known to be absent.
        locations: for each annotated class that is present, some of its voxels, (n, 3) in order z, y, x.
    """

    name: str
    annotated: tuple[int, ...]
    image_zyx: npt.NDArray[np.float16]
    labels_zyx: npt.NDArray[np.uint8]
    locations: dict[int, npt.NDArray[np.int32]]

    @property
    def shape(self) -> Shape:
        """Number of voxels along (z, y, x)."""
        return triple_of_ints(self.labels_zyx.shape)


def write_case(store: Path, case: PreparedCase, key: dict[str, Any]) -> None:
    """Write a case; its folder appears only when it is whole.

    Args:
        store: the folder of all cases.
        case: what to write.
        key: what the case was made from and how; `is_prepared` compares it.
    """
    part = store / f"{case.name}{_PART_SUFFIX}"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    np.save(part / "image.npy", case.image_zyx)
    np.save(part / "labels.npy", case.labels_zyx)
    np.savez(part / "locations.npz", allow_pickle=False, **{str(c): where for c, where in case.locations.items()})
    description = {"annotated": list(case.annotated), "key": key}
    (part / _DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
    final = store / case.name
    shutil.rmtree(final, ignore_errors=True)
    part.rename(final)


def is_prepared(store: Path, name: str, key: dict[str, Any]) -> bool:
    """Whether the store already holds this case, made from the same files in the same way."""
    path = store / name / _DESCRIPTION
    return path.is_file() and _description(path)["key"] == key


def read_store(store: Path) -> list[PreparedCase]:
    """All cases of a store, in alphabetical order; arrays are memory maps.

    Raises:
        DatasetError: if the folder holds no prepared case, or one is damaged.
    """
    folders = sorted(path.parent for path in store.glob(f"*/{_DESCRIPTION}") if path.parent.suffix != _PART_SUFFIX)
    if not folders:
        raise DatasetError(f"{store}: no prepared case here; run `flare-train prepare` first")
    return [_read_case(folder) for folder in folders]


def _read_case(folder: Path) -> PreparedCase:
    try:
        with np.load(folder / "locations.npz", allow_pickle=False) as stored:
            locations = {int(code): stored[code] for code in stored.files}
        return PreparedCase(
            name=folder.name,
            annotated=tuple(_description(folder / _DESCRIPTION)["annotated"]),
            image_zyx=np.load(folder / "image.npy", mmap_mode="r", allow_pickle=False),
            labels_zyx=np.load(folder / "labels.npy", mmap_mode="r", allow_pickle=False),
            locations=locations,
        )
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(f"{folder}: damaged ({error}); delete it and run `flare-train prepare` again") from error


def _description(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
