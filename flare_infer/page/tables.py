"""What the tables of a page show, as texts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flare_infer.errors import one_line
from flare_infer.exports.color_table import colors_of
from flare_infer.results.case import CaseStatistics, ClassStatistics, Intensities, Lesion
from flare_infer.results.organ_volumes import volume_text


@dataclass(frozen=True, kw_only=True)
class OrganRow:
    """A class that was found, as texts: see `ClassStatistics`; color is a CSS color, center "x y z" in RAS mm."""

    code: int
    name: str
    color: str
    volume: str
    confidence: str
    mean: str
    median: str
    parts: str
    extent: str
    center: str
    cut: bool


@dataclass(frozen=True, kw_only=True)
class LesionRow:
    """A lesion, as texts: see `Lesion`; center is "x y z" in RAS mm."""

    number: int
    organ: str
    volume: str
    diameters: str
    mean: str
    confidence: str
    center: str
    cut: bool


def organ_rows(statistics: CaseStatistics, names: Sequence[str]) -> list[OrganRow]:
    """The classes that were found, in the order of their codes."""
    colors = colors_of(names)
    rows = []
    for found in statistics.classes:
        if found.volume_ml > 0:
            red, green, blue = colors[found.code]
            rows.append(_organ_row(found, f"#{red:02x}{green:02x}{blue:02x}"))
    return rows


def lesion_rows(lesions: Sequence[Lesion]) -> list[LesionRow]:
    """The lesions, the largest first."""
    return [
        LesionRow(
            number=lesion.number,
            organ=lesion.organ,
            volume=volume_text(lesion.volume_ml, cut=lesion.cut),
            diameters=f"{lesion.longest_axial_mm:.0f} x {lesion.perpendicular_mm:.0f}",
            mean=_mean(lesion.intensities),
            confidence=_share(lesion.confidence),
            center=_ras(lesion.center_mm),
            cut=lesion.cut,
        )
        for lesion in lesions
    ]


def flattened(facts: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str]]:
    """Facts as pairs of texts; those of a mapping in a mapping are named by both."""
    for key, value in facts.items():
        name = f"{within}{key}"
        if isinstance(value, Mapping):
            yield from flattened(value, f"{name}, ")
        elif isinstance(value, list | tuple):
            yield one_line(name), one_line(", ".join(str(part) for part in value))
        else:
            yield one_line(name), one_line(str(value))


def _organ_row(found: ClassStatistics, color: str) -> OrganRow:
    extent = found.extent_mm
    return OrganRow(
        code=found.code,
        name=found.name,
        color=color,
        volume=volume_text(found.volume_ml, cut=found.cut),
        confidence=_share(found.confidence),
        mean=_mean(found.intensities),
        median="" if found.intensities is None else f"{found.intensities.median:.0f}",
        parts=str(found.parts) if found.parts else "",
        extent="" if extent is None else " x ".join(f"{mm:.0f}" for mm in extent),
        center="" if found.center_mm is None else _ras(found.center_mm),
        cut=found.cut,
    )


def _mean(intensities: Intensities | None) -> str:
    return "" if intensities is None else f"{intensities.mean:.0f} ({intensities.sd:.0f})"


def _share(confidence: float | None) -> str:
    return "" if confidence is None else f"{confidence:.2f}"


def _ras(center_mm: tuple[float, float, float]) -> str:
    left, posterior, superior = center_mm
    return f"{-left:.1f} {-posterior:.1f} {superior:.1f}"
