"""Data cleaning: which components of a label map are taken for errors (docs/paper.md, Data cleaning).

Three rules, each a function from a label map on its own grid to findings. `clean_labels` applies them one after the
other; nothing is removed that is not a finding.
"""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from flare_infer.errors import SpecError
from flare_infer.geometry import Box, Spacing
from flare_infer.label_set import FLARE23, LabelSet
from flare_infer.labels import BACKGROUND, IGNORED, ORGANS
from train.dataset.components import Component, components
from train.dataset.region import is_one_of, organ_box

Rule: TypeAlias = Literal["small", "outside", "far"]


@dataclass(frozen=True, kw_only=True)
class CleaningRules:
    """Limits of the three rules.

    Attributes:
        smallest_voxels: components with fewer voxels than this are small.
        far_mm: distance between the surfaces of a tumor and of the nearest organ, in mm, beyond which the tumor is far;
            also the margin of the abdominal region around its organs.
        organs_needed: codes of the organs that a case must annotate for the second and third rule to apply; by default
            the challenge's.
    """

    smallest_voxels: int = 100
    far_mm: float = 20.0
    organs_needed: tuple[int, ...] = ORGANS

    def __post_init__(self) -> None:
        if self.smallest_voxels < 0 or not 0 <= self.far_mm < math.inf or not _are_codes(self.organs_needed):
            raise SpecError(f"cleaning needs smallest_voxels and far_mm of at least 0, and organs, found {self}")

    def check(self, label_set: LabelSet) -> None:
        """Make sure that the needed organs are organs of a label set.

        Raises:
            SpecError: if one is a lesion, or none of its classes.
        """
        if strange := [code for code in self.organs_needed if code not in label_set.organs]:
            raise SpecError(
                f"organs_needed: {strange[0]} is no organ of the label set; its organs are "
                f"{label_set.in_words(label_set.organs)}"
            )


def _are_codes(codes: tuple[int, ...]) -> bool:
    return all(BACKGROUND < code < IGNORED for code in codes)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A component that a rule takes for an error.

    Attributes:
        rule: small, outside (the abdominal region) or far (from every organ).
        component: its voxels.
        distance_mm: for far, the distance between the surfaces in mm if it is below twice the limit, else None.
    """

    rule: Rule
    component: Component
    distance_mm: float | None = None


@dataclass(frozen=True, kw_only=True)
class CleanedLabels:
    """A cleaned label map.

    Attributes:
        labels_zyx: a new array of codes, with every finding turned into background.
        findings: what was removed, in the order of the rules.
        organs_unknown: codes of needed organs that are not annotated; if there are any, the second and third rule were
            skipped.
    """

    labels_zyx: npt.NDArray[np.uint8]
    findings: tuple[Finding, ...]
    organs_unknown: tuple[int, ...]


def clean_labels(
    labels_zyx: npt.NDArray[np.uint8],
    spacing_mm: Spacing,
    annotated: Collection[int],
    cleaning: CleaningRules,
    label_set: LabelSet = FLARE23,
) -> CleanedLabels:
    """Apply the three rules one after the other, each to the labels that the previous rule left.

    Args:
        labels_zyx: codes (z, y, x) on the scan's own grid; not modified.
        spacing_mm: spacing of that grid along (z, y, x).
        annotated: codes that the case annotates.
        cleaning: limits of the rules.
        label_set: the classes.
    """
    labels_zyx = labels_zyx.copy()
    findings = list(small_components(labels_zyx, cleaning.smallest_voxels, label_set))
    _remove(labels_zyx, findings)
    unknown = tuple(code for code in cleaning.organs_needed if code not in annotated)
    has_lesions = bool(set(label_set.lesion_codes) & set(annotated))
    if not unknown and has_lesions:
        for rule in (tumors_outside_region, tumors_far_from_organs):
            found = list(rule(labels_zyx, spacing_mm, cleaning.far_mm, label_set))
            _remove(labels_zyx, found)
            findings += found
    skipped = unknown if has_lesions else ()
    return CleanedLabels(labels_zyx=labels_zyx, findings=tuple(findings), organs_unknown=skipped)


def small_components(
    labels_zyx: npt.NDArray[np.uint8], smallest_voxels: int, label_set: LabelSet = FLARE23
) -> Iterator[Finding]:
    """First rule: components of fewer than `smallest_voxels` voxels; the largest component of an organ always stays.

    Components of classes whose islands are allowed stay, too, and so does what is to be ignored.
    """
    kept = {IGNORED, *label_set.island_codes}
    every = [component for component in components(labels_zyx) if component.code not in kept]
    largest: dict[int, Component] = {}
    for component in every:
        if component.code not in largest or component.voxels > largest[component.code].voxels:
            largest[component.code] = component
    for component in every:
        spared = component.code not in label_set.lesion_codes and component is largest[component.code]
        if component.voxels < smallest_voxels and not spared:
            yield Finding(rule="small", component=component)


def tumors_outside_region(
    labels_zyx: npt.NDArray[np.uint8], spacing_mm: Spacing, margin_mm: float, label_set: LabelSet = FLARE23
) -> Iterator[Finding]:
    """Second rule: lesions without a voxel in the region of the label set, in the challenge the abdominal one.

    The region is the box around all its organs, wider by the margin on all sides: a tumor of the liver's rim or of
    the colon may grow beyond the organs. Without any such organ the region is unknown, and nothing is found.
    """
    region = tumor_region(labels_zyx, spacing_mm, margin_mm, label_set)
    if region is None:
        return
    for component in _lesions(labels_zyx, label_set):
        inside = component.box.overlap(region)
        if inside.is_empty or not component.mask_zyx[inside.seen_from(component.box)].any():
            yield Finding(rule="outside", component=component)


def tumors_far_from_organs(
    labels_zyx: npt.NDArray[np.uint8], spacing_mm: Spacing, far_mm: float, label_set: LabelSet = FLARE23
) -> Iterator[Finding]:
    """Third rule: lesions with more than `far_mm` between their surface and that of every organ that they may lie in.

    Without any such organ the distance is unknown, and nothing is found.
    """
    for component in _lesions(labels_zyx, label_set):
        hosts = label_set.hosts(component.code)
        if not is_one_of(labels_zyx, hosts).any():
            continue
        distance = distance_to_organs_mm(labels_zyx, component, spacing_mm, 2 * far_mm, hosts)
        if distance is None or distance > far_mm:
            yield Finding(rule="far", component=component, distance_mm=distance)


def distance_to_organs_mm(
    labels_zyx: npt.NDArray[np.uint8],
    component: Component,
    spacing_mm: Spacing,
    most_mm: float,
    organs_of: Collection[int] = ORGANS,
) -> float | None:
    """Distance between the surfaces of a component and of the nearest organ voxel; None beyond `most_mm`.

    Voxels are boxes: neighbors, diagonal ones too, touch at distance 0. `organs_of` has the codes of the organs.
    """
    reach = [int(most_mm / spacing) + 2 for spacing in spacing_mm]
    around = component.box.grown(reach, labels_zyx.shape)
    organs = is_one_of(labels_zyx[around], organs_of)
    if not organs.any():
        return None
    # One voxel along each axis lies between surface and center on both sides together: distances between the centers
    # to organs grown by one voxel are the distances between the boxes.
    thick = ndimage.binary_dilation(organs, np.ones((3, 3, 3), dtype=np.bool_))
    distances_mm = ndimage.distance_transform_edt(~thick, sampling=spacing_mm)
    tumor = np.zeros(organs.shape, dtype=np.bool_)
    tumor[component.box.seen_from(around)] = component.mask_zyx
    distance = float(distances_mm[tumor].min())
    return distance if distance <= most_mm else None


def tumor_region(
    labels_zyx: npt.NDArray[np.uint8], spacing_mm: Spacing, margin_mm: float, label_set: LabelSet = FLARE23
) -> Box | None:
    """Box around all organs of the region, wider by a margin, within the label map; None if there is none of them."""
    box = organ_box(labels_zyx, label_set.region_codes)
    if box is None:
        return None
    return box.grown([round(margin_mm / spacing) for spacing in spacing_mm], labels_zyx.shape)


def _lesions(labels_zyx: npt.NDArray[np.uint8], label_set: LabelSet) -> Iterator[Component]:
    """The components of all classes of lesions."""
    for code in label_set.lesion_codes:
        yield from components(labels_zyx, code)


def _remove(labels_zyx: npt.NDArray[np.uint8], findings: list[Finding]) -> None:
    for finding in findings:
        labels_zyx[finding.component.box][finding.component.mask_zyx] = BACKGROUND
