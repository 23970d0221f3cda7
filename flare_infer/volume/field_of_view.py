"""What of a scan is looked at: no padding, and no air far from the patient."""

from dataclasses import dataclass
from typing import Final

from flare_infer.geometry import Slices
from flare_infer.model.spec import ModelSpec
from flare_infer.volume.body import Body
from flare_infer.volume.orient import turn
from flare_infer.volume.padding import without_padding
from flare_infer.volume.volume import Volume, crop

_FEWEST_PLANES: Final = 3
"""On the model's grid; fewer are a scout or a single slice, of which more is said elsewhere."""


@dataclass(frozen=True, kw_only=True)
class FieldOfView:
    """The part of a scan that is looked at.

    Attributes:
        volume: it, as a view of the scan.
        box: where it lies in the scan.
        body: the body in it, with the axes turned as the model wants them; None if nothing is known of it.
    """

    volume: Volume
    box: Slices
    body: Body | None


def field_of_view(volume: Volume, spec: ModelSpec) -> FieldOfView:
    """The part of a scan that a model looks at: all of it, if the model does not ask for the body only."""
    deep, high, wide = (slice(0, length) for length in volume.shape)
    if not spec.body_only:
        return FieldOfView(volume=volume, box=(deep, high, wide), body=None)
    box = without_padding(volume.array_zyx)
    view = _seen(volume, box, spec)
    if view.body is None:
        return view
    _, reorientation = turn(view.volume, spec.orientation, spec.transpose)
    inner = reorientation.undo_box(view.body.box(), view.body.shape)
    if all(part.stop - part.start == length for part, length in zip(inner, view.volume.shape, strict=True)):
        return view
    nested = [slice(outer.start + part.start, outer.start + part.stop) for outer, part in zip(box, inner, strict=True)]
    return _seen(volume, (nested[0], nested[1], nested[2]), spec)


def short_scan_doubts(planes: int, spec: ModelSpec) -> tuple[str, ...]:
    """What is to be said of a scan that fills less than half of a window: nothing, or a line for the user.

    Args:
        planes: of the scan on the model's grid.
        spec: the model.
    """
    if not spec.body_only or planes < _FEWEST_PLANES or planes >= spec.patch[0] / 2:
        return ()
    length_mm, window_mm = (count * spec.spacing_mm[0] for count in (planes, spec.patch[0]))
    return (
        f"about {length_mm:.0f} mm from the lowest to the highest slice, and the network looks at {window_mm:.0f} mm "
        "at once: organs may be missed, and some be claimed that lie above or below; look at the result",
    )


def _seen(volume: Volume, box: Slices, spec: ModelSpec) -> FieldOfView:
    part = crop(volume, box)
    turned, _ = turn(part, spec.orientation, spec.transpose)
    return FieldOfView(volume=part, box=box, body=Body.find(turned.array_zyx, turned.placement.spacing_mm))
