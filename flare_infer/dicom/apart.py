"""Slices of one series told apart: by their grid, then phases and reconstructions; duplicates are dropped."""

import hashlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from flare_infer.dicom.pixels import read_planes
from flare_infer.dicom.slices import PHASES, Slice
from flare_infer.errors import ImageError

FEWEST_SLICES: Final = 10
"""A CT of fewer slices is no case."""

_SAME_MM: Final = 0.01
"""Slices nearer than this lie at one position; so do spacings."""

_SAME_AXES: Final = 1e-3
_SHOWN: Final = 5

_Part: TypeAlias = tuple[str, tuple[Slice, ...]]
"""What tells the slices of one volume apart from the others of the series, and these slices."""


def same_grids(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Slices by matrix, spacing and axes."""
    grids: list[list[Slice]] = []
    for one in slices:
        for grid in grids:
            if _on_one_grid(one, grid[0]):
                grid.append(one)
                break
        else:
            grids.append([one])
    return grids


def _on_one_grid(one: Slice, other: Slice) -> bool:
    return (
        one.pixels.shape == other.pixels.shape
        and all(abs(a - b) <= _SAME_MM for a, b in zip(one.spacing_mm, other.spacing_mm, strict=True))
        and all(abs(a - b) <= _SAME_AXES for a, b in zip(one.axes, other.axes, strict=True))
    )


def normal_of(one: Slice) -> npt.NDArray[np.float64]:
    """The unit vector along which slices follow each other: a row's direction times a column's."""
    normal: npt.NDArray[np.float64] = np.cross(one.axes[:3], one.axes[3:])
    length = float(np.linalg.norm(normal))
    return normal / length if length else normal


def along(slices: Sequence[Slice]) -> list[float]:
    """Where slices lie along their normal, in mm."""
    normal = normal_of(slices[0])
    return [float(np.dot(normal, one.position_mm)) for one in slices]


def told_apart(grid: Sequence[Slice]) -> tuple[list[_Part], int]:
    """Parts without two slices at one position, in order along the normal, and the number of duplicates dropped.

    Raises:
        ImageError: if nothing tells slices of different content at one position apart, or they cannot be read to be
            compared.
    """
    ordered = [grid[index] for index in np.argsort(along(grid), kind="stable").tolist()]
    if not _clashes(ordered):
        return _interleaved(ordered) or [("", tuple(ordered))], 0
    if parts := _by_phase(ordered):
        return parts, 0
    kept = _without_duplicates(ordered)
    dropped = len(ordered) - len(kept)
    clashes = _clashes(kept)
    if not clashes:
        return [("", tuple(kept))], dropped
    if parts := _by_phase(kept):
        return parts, dropped
    raise ImageError(f"slices of different content lie at one position ({places(clashes)})")


def _clashes(ordered: Sequence[Slice]) -> list[float]:
    """Positions at which several slices lie."""
    at = along(ordered)
    return [here for before, here in pairwise(at) if here - before < _SAME_MM]


def places(at: Sequence[float]) -> str:
    """Positions along the normal, in mm, as words; of many the first."""
    shown = ", ".join(f"{value:.2f}" for value in dict.fromkeys(at[:_SHOWN]))
    return f"at {shown}{', ...' if len(at) > _SHOWN else ''} mm along the normal"


def _split(ordered: Sequence[Slice], keys: Sequence[int]) -> Mapping[tuple[str, ...], list[Slice]]:
    parts: dict[tuple[str, ...], list[Slice]] = {}
    for one in ordered:
        parts.setdefault(tuple(one.phase[key] for key in keys), []).append(one)
    return dict(sorted(parts.items()))


def _named(keys: Sequence[int], parts: Mapping[tuple[str, ...], list[Slice]]) -> list[_Part]:
    return [
        (", ".join(f"{PHASES[key]} {value}" for key, value in zip(keys, values, strict=True)), tuple(slices))
        for values, slices in parts.items()
    ]


def _by_phase(ordered: Sequence[Slice]) -> list[_Part]:
    """Slices by the first of `PHASES`, or by all, that leaves no two at one position; empty if none does."""
    every = tuple(range(len(PHASES)))
    for keys in (*((key,) for key in every), every):
        parts = _split(ordered, keys)
        if len(parts) > 1 and max(map(len, parts.values())) >= FEWEST_SLICES and not any(map(_clashes, parts.values())):
            changing = keys if len(keys) == 1 else [key for key in every if len(_split(ordered, (key,))) > 1]
            return _named(changing, _split(ordered, changing))
    return []


def _interleaved(ordered: Sequence[Slice]) -> list[_Part]:
    """Phases whose slices lie between each other's, none at one position; empty if there are none.

    Acquisitions that follow each other, as those of a long scan do, stay together.
    """
    for key in (0, 1):
        parts = _split(ordered, (key,))
        if len(parts) < 2 or min(map(len, parts.values())) < FEWEST_SLICES:
            continue
        ends = [(at[0], at[-1]) for at in map(along, parts.values())]
        shortest = min(last - first for first, last in ends)
        shared = min(last for _, last in ends) - max(first for first, _ in ends)
        if shared > shortest / 2:
            return _named((key,), parts)
    return []


def _without_duplicates(ordered: Sequence[Slice]) -> list[Slice]:
    """Slices of which no two of the same content lie at one position."""
    kept: list[Slice] = []
    contents: dict[bytes, None] = {}
    at = along(ordered)
    for index, one in enumerate(ordered):
        new = index == 0 or at[index] - at[index - 1] >= _SAME_MM
        alone = new and (index + 1 == len(ordered) or at[index + 1] - at[index] >= _SAME_MM)
        contents = {} if new else contents
        content = b"" if alone else hashlib.sha256(next(read_planes([one])).tobytes()).digest()
        if content not in contents:
            kept.append(one)
        contents[content] = None
    return kept
