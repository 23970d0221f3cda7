"""Names and colors of classes: a table beside a label map, and the classes that a list of names means."""

import colorsys
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from flare_infer.class_names import code_of_name
from flare_infer.errors import UsageError
from flare_infer.files.write_whole import write_json, write_whole
from flare_infer.labels import BACKGROUND
from flare_infer.results.case import SegmentedCase
from flare_infer.results.drawing import Color
from flare_infer.results.picture import COLORS

_GOLDEN: Final = 0.618034
"""Share of the circle of hues from one foreign class to the next: neighbors differ well, however many there are."""


def colors_of(names: Sequence[str]) -> tuple[Color, ...]:
    """The color (red, green, blue, from 0 to 255) of each class; that of the pictures where they know the class.

    Args:
        names: name of each code, background first.
    """
    return tuple(_color_of(code, name) for code, name in enumerate(names))


def _color_of(code: int, name: str) -> Color:
    if code == BACKGROUND:
        return (0, 0, 0)
    if (known := code_of_name(name)) in COLORS:
        return COLORS[known]
    red, green, blue = colorsys.hsv_to_rgb(code * _GOLDEN % 1.0, 0.6, 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)


def write_color_table(path: Path, names: Sequence[str], colors: Sequence[Color]) -> None:
    """Write the names and colors of a label map: for 3D Slicer if the path ends in `.ctbl`, else as JSON.

    Args:
        path: the file.
        names: name of each code, background first.
        colors: color (red, green, blue) of each code, from 0 to 255.

    Raises:
        NotWrittenError: if the file cannot be written.
    """
    rows = list(zip(range(len(names)), names, colors, strict=True))
    if path.suffix != ".ctbl":
        write_json(path, {"labels": [{"code": code, "name": name, "color": color} for code, name, color in rows]})
        return
    lines = ["# Color table of a label map: code, name, red, green, blue, opacity"]
    for code, name, (red, green, blue) in rows:
        opacity = 0 if code == BACKGROUND else 255
        lines.append(f"{code} {re.sub(r'[^!-~]+', '_', name) or '_'} {red} {green} {blue} {opacity}")
    write_whole(path, "\n".join(lines) + "\n")


def codes_of_names(text: str, names: Sequence[str]) -> frozenset[int]:
    """The codes of the classes that a list means: "liver, left_kidney".

    Upper and lower case, spaces, underscores and hyphens make no difference; other names of the same class are known.

    Args:
        text: names, separated by commas.
        names: name of each code of the model, background first.

    Raises:
        UsageError: if a name is none of the model's, or there is none.
    """
    codes = {_plain(name): code for code, name in enumerate(names) if code != BACKGROUND}
    by_meaning = {code_of_name(name): code for code, name in enumerate(names) if code_of_name(name)}
    chosen = set()
    for part in filter(None, map(str.strip, text.split(","))):
        code = codes.get(_plain(part), by_meaning.get(code_of_name(part)))
        if code is None:
            raise UsageError(f"--organs: no class is called {part!r}; known are {', '.join(names[1:])}")
        chosen.add(code)
    if not chosen:
        raise UsageError(f"--organs: expected names, separated by commas; known are {', '.join(names[1:])}")
    return frozenset(chosen)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name.casefold())


def classes_of(case: SegmentedCase, codes: Collection[int] | None) -> dict[int, str]:
    """The classes to write, code and name, in the order of the codes.

    Args:
        case: the case.
        codes: the codes that were chosen; None for all.
    """
    return {
        code: name for code, name in enumerate(case.names) if code != BACKGROUND and (codes is None or code in codes)
    }
