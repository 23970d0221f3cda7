"""One HTML file of a case that opens without network: the CT under its labels, measurements, flags, how it was made."""

import base64
import io
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from markupsafe import Markup

from flare_infer.errors import MissingExtraError
from flare_infer.exports.color_table import colors_of
from flare_infer.geometry import Shape, Spacing
from flare_infer.page.assets import NIIVUE_VERSION, asset, niivue, policy, write_page
from flare_infer.page.preview import NO_DEVICE, draw_preview
from flare_infer.page.shrink import Shrunken, shrink
from flare_infer.page.tables import flattened, lesion_rows, organ_rows
from flare_infer.page.upright import point_of_interest, upright
from flare_infer.results.case import CaseStatistics, SegmentedCase

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_WINDOWS: Final = (
    {"name": "abdomen (50, 400)", "level": 50, "width": 400},
    {"name": "liver (90, 180)", "level": 90, "width": 180},
    {"name": "lung (-600, 1500)", "level": -600, "width": 1500},
    {"name": "bone (400, 1800)", "level": 400, "width": 1800},
)
_VIEWS: Final = (
    ("all", "all"),
    ("axial", "axial"),
    ("coronal", "coronal"),
    ("sagittal", "sagittal"),
    ("solid", "3D"),
)
_PLANES: Final = (
    ("axial", "axial, feet to head"),
    ("coronal", "coronal, back to front"),
    ("sagittal", "sagittal, left to right"),
)
_QUALITY: Final = 80  # of the still picture, JPEG


def write_report(path: Path, case: SegmentedCase, statistics: CaseStatistics, picture: "Picture | None" = None) -> None:
    """Write the page of a case.

    It holds images of the patient: the CT with fewer voxels and gray values, and a picture of three planes if Pillow is
    there to draw it.

    Args:
        path: the file.
        case: the scan and its labels.
        statistics: what was measured of it.
        picture: what `draw_preview` drew of it; drawn here if None.

    Raises:
        NotWrittenError: if the file cannot be written.
    """
    small = shrink(case.scan, case.labels, case.in_hounsfield)
    script, style, library = asset("report.js"), asset("page.css"), niivue()
    organs = organ_rows(statistics, case.names)
    write_page(
        path,
        "report.html",
        policy=policy([library, script], [style], "data:"),
        name=statistics.name,
        disclaimer=NO_DEVICE,
        flags=statistics.flags,
        picture=_still(case, statistics, picture),
        views=_VIEWS,
        planes=_PLANES,
        windows=_windows(case, small),
        phase=statistics.phase,
        in_hounsfield=case.in_hounsfield,
        found=organs,
        missing=[one.name for one in statistics.classes if one.volume_ml == 0],
        lesions=lesion_rows(statistics.lesions),
        made_with=list(_made_with(case, small)),
        notices=case.notices,
        niivue_version=NIIVUE_VERSION,
        facts=_facts(case, small),
        image=Markup(small.image),
        labels=Markup(small.labels),
        niivue=library,
        script=script,
        style=style,
    )


def _still(case: SegmentedCase, statistics: CaseStatistics, picture: "Picture | None") -> Markup:
    """The preview as JPEG, base64; empty without Pillow."""
    with suppress(MissingExtraError):
        content = io.BytesIO()
        (picture or draw_preview(case, statistics)).save(content, format="JPEG", quality=_QUALITY)
        return Markup(base64.b64encode(content.getvalue()).decode("ascii"))
    return Markup()


def _windows(case: SegmentedCase, small: Shrunken) -> tuple[dict[str, Any], ...]:
    if case.in_hounsfield:
        return _WINDOWS
    low, high = small.values[0], small.values[-1]
    return ({"name": "all gray values", "level": (low + high) / 2, "width": high - low},)


def _made_with(case: SegmentedCase, small: Shrunken) -> Iterator[tuple[str, str]]:
    yield from flattened(case.made_with)
    yield "scan", _grid(case.scan.shape, case.scan.placement.spacing_mm)
    yield "in this page", _grid(small.shape, small.spacing_mm)
    if case.in_hounsfield:
        yield "gray values in this page", "256, 2.5 HU apart from -160 to 260 HU, about 25 HU below and above"


def _grid(shape: Shape, spacing_mm: Spacing) -> str:
    """A grid in words, x first."""
    sizes = " x ".join(str(size) for size in reversed(shape))
    return f"{sizes} voxels, {' x '.join(f'{mm:.2f}' for mm in reversed(spacing_mm))} mm"


def _facts(case: SegmentedCase, small: Shrunken) -> dict[str, Any]:
    """What the script of the page reads; x comes first, and millimeters run to the right, the front, the head."""
    return {
        "shape": small.shape[::-1],
        "spacing_mm": small.spacing_mm[::-1],
        "affine": small.affine,
        "values": small.values,
        "in_hounsfield": case.in_hounsfield,
        "windows": _windows(case, small),
        "classes": [
            {"code": code, "name": case.names[code], "color": color}
            for code, color in enumerate(colors_of(case.names))
            if code
        ],
        "start_mm": _start_mm(case),
    }


def _start_mm(case: SegmentedCase) -> list[float]:
    turned = upright(case)
    place = turned.placement
    point = point_of_interest(turned.codes_zyx, place.spacing_mm, case.names, case.own_lesions)
    lps = np.asarray(place.origin_mm) + (np.asarray(point) * place.spacing_mm) @ np.asarray(place.axes)
    return (lps * [-1, -1, 1]).tolist()  # type: ignore[no-any-return]
