"""What of a scan is looked at: no padding, and no air far from the patient."""

from dataclasses import dataclass
from typing import Final

from flare_infer.geometry import Box
from flare_infer.model.spec import ModelSpec
from flare_infer.volume.body import Body
from flare_infer.volume.padding import without_padding
from flare_infer.volume.volume import Volume, crop

_FEWEST_PLANES: Final = 3
"""On the model's grid; fewer are a scout or a single slice, of which more is said elsewhere."""


@dataclass(frozen=True, kw_only=True)
class FieldOfView:
    """The part of a scan that is looked at.

    Attributes:
        volume: its voxels, as a view of the turned scan.
        box: its place in the turned scan.
        body: the body in it; None if nothing is known of the body.
    """

    volume: Volume
    box: Box
    body: Body | None


def field_of_view(turned: Volume, spec: ModelSpec) -> FieldOfView:
    """The part of a turned scan that a model looks at: all of it, if the model does not ask for the body only."""
    if not spec.body_only:
        return FieldOfView(volume=turned, box=Box.at((0, 0, 0), turned.shape), body=None)
    box = without_padding(turned.array_zyx)
    view = _seen(turned, box)
    if view.body is None:
        return view
    inner = view.body.box()
    return view if inner.shape == view.volume.shape else _seen(turned, inner.moved(box.starts))


def short_scan_doubts(planes: int, spec: ModelSpec) -> tuple[str, ...]:
    """What is to be said of a scan that fills less than half of a window: nothing, or a line for the user.

    Args:
        planes: number of planes of the scan on the model's grid.
        spec: the model.
    """
    if not spec.body_only or planes < _FEWEST_PLANES or planes >= spec.patch[0] / 2:
        return ()
    length_mm, window_mm = (count * spec.spacing_mm[0] for count in (planes, spec.patch[0]))
    return (
        f"about {length_mm:.0f} mm from the lowest to the highest slice, and the network looks at {window_mm:.0f} mm "
        "at once: organs may be missed, and some be claimed that lie above or below; look at the result",
    )


def _seen(turned: Volume, box: Box) -> FieldOfView:
    part = crop(turned, box)
    return FieldOfView(volume=part, box=box, body=Body.find(part.array_zyx, part.placement.spacing_mm))
