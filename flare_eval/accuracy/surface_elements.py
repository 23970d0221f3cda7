"""How much surface passes through each 2x2x2 neighborhood of a mask: the marching-cubes table, derived from geometry.

A neighborhood is a cube whose 8 corners are voxel centers, some inside the mask. The surface crosses the edges between
an inside and an outside corner at their middle. Three rules make its area unique, and give the surface elements of
Nikolov et al. (2018):

1. inside and outside are exchanged if more than half of the corners are inside: a surface has no sides;
2. on a face whose inside corners lie across from each other, each of them is cut off alone;
3. a closed polygon through the crossed edges is divided into the triangles that have the largest area together, on a
   cube of edge 1. Where several divisions are equally large, they are equally large at every spacing.

The table holds the triangles' area vectors, so one look-up per spacing scales it: see `areas_mm2`.
"""

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from flare_infer.geometry import Spacing

Corner: TypeAlias = tuple[int, int, int]
_Edge: TypeAlias = tuple[Corner, Corner]
_Points: TypeAlias = list[npt.NDArray[np.float64]]
_Triangle: TypeAlias = tuple[int, int, int]

_CORNERS: Final[tuple[Corner, ...]] = tuple((z, y, x) for z, y, x in product((0, 1), repeat=3))
"""The corners of a neighborhood, in the order of their bits in its code: bit 0 is (0, 0, 0), bit 1 is (0, 0, 1)."""

CODES_OF_NEIGHBORHOODS: Final = 2 ** len(_CORNERS)
"""Number of ways in which 8 corners can be inside or outside."""

_RING: Final = ((0, 0), (0, 1), (1, 1), (1, 0))


def areas_mm2(spacing_mm: Spacing) -> npt.NDArray[np.float64]:
    """The area of surface, in mm2, in a neighborhood of each code.

    Bit i of a code says whether corner i is inside; corners are counted with x fastest, then y, then z.

    Args:
        spacing_mm: distance between voxel centers along (z, y, x).

    Returns:
        256 areas, by code; 0 for the codes 0 (all outside) and 255 (all inside).
    """
    z, y, x = spacing_mm
    scale = np.array([y * x, z * x, z * y])
    return np.array([sum(float(np.linalg.norm(vector * scale)) for vector in vectors) for vectors in _area_vectors()])


@cache
def _area_vectors() -> tuple[tuple[npt.NDArray[np.float64], ...], ...]:
    """The area vectors of the triangles of each code, on a cube of edge 1."""
    return tuple(tuple(_vectors_of(code)) for code in range(CODES_OF_NEIGHBORHOODS))


def _vectors_of(code: int) -> Iterator[npt.NDArray[np.float64]]:
    inside = {corner for bit, corner in enumerate(_CORNERS) if code >> bit & 1}
    # Rule 1: inside and outside may change places, the surface between them is the same.
    if 2 * len(inside) > len(_CORNERS):
        inside = set(_CORNERS) - inside
    for polygon in _polygons(inside):
        # The surface crosses an edge at its middle. A polygon that is not flat can be divided into triangles in several
        # ways, of which the one with the largest area counts (rule 3).
        points = [(np.array(one) + np.array(other)) / 2 for one, other in polygon]
        divisions = _divisions(0, len(points) - 1)
        yield from max(
            ([_area_vector(points, triangle) for triangle in triangles] for triangles in divisions),
            key=lambda vectors: round(sum(float(np.linalg.norm(vector)) for vector in vectors), 9),
        )


def _polygons(inside: set[Corner]) -> Iterator[list[_Edge]]:
    """The closed polygons in which the surface crosses the cube, as the edges it crosses, in order."""
    neighbors: dict[_Edge, list[_Edge]] = {}
    for one, other in _segments(inside):
        neighbors.setdefault(one, []).append(other)
        neighbors.setdefault(other, []).append(one)
    while neighbors:
        # From the first edge that is left, on along the neighbors until none is left: the polygon is closed then.
        polygon = [min(neighbors)]
        while True:
            ahead = [edge for edge in neighbors.pop(polygon[-1]) if edge in neighbors]
            if not ahead:
                break
            polygon.append(min(ahead))
        yield polygon


def _segments(inside: set[Corner]) -> Iterator[tuple[_Edge, _Edge]]:
    """The lines in which the surface crosses the six faces, each from a crossed edge to another."""
    for axis, side in product(range(3), (0, 1)):
        face = [_corner(axis, side, around) for around in _RING]
        is_in = [corner in inside for corner in face]
        edges = [_edge(face[i], face[(i + 1) % 4]) for i in range(4)]
        # A face is crossed in no edge, in two, or, if its inner corners lie diagonally, in all four. Then each of the
        # two inner corners is cut off by a line of its own (rule 2).
        crossed = [edge for i, edge in enumerate(edges) if is_in[i] != is_in[(i + 1) % 4]]
        if len(crossed) == 2:
            yield crossed[0], crossed[1]
        elif len(crossed) == 4:
            yield from ((edges[i - 1], edges[i]) for i in range(4) if is_in[i])


def _corner(axis: int, side: int, around: tuple[int, int]) -> Corner:
    corner = [*around[:axis], side, *around[axis:]]
    return corner[0], corner[1], corner[2]


def _edge(one: Corner, other: Corner) -> _Edge:
    return (one, other) if one < other else (other, one)


def _divisions(first: int, last: int) -> list[list[_Triangle]]:
    """All ways to divide the polygon of the vertices first..last into triangles."""
    if last - first < 2:
        return [[]]
    return [
        [*left, *right, (first, middle, last)]
        for middle in range(first + 1, last)
        for left in _divisions(first, middle)
        for right in _divisions(middle, last)
    ]


def _area_vector(points: _Points, triangle: _Triangle) -> npt.NDArray[Any]:
    one, two, three = (points[vertex] for vertex in triangle)
    return np.cross(two - one, three - one) / 2
