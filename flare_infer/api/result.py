"""What a segmented scan is for a program: label map, volumes, measurements, and files of them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813 - the field's own alias

from flare_infer.errors import ImageError, UsageError
from flare_infer.formats.itk_image import image_of
from flare_infer.formats.volume_io import IMAGE_SUFFIXES, image_ending, read_volume, write_volume
from flare_infer.geometry import voxel_volume_ml
from flare_infer.results.case import CaseStatistics, SegmentedCase
from flare_infer.results.statistics import statistics_of
from flare_infer.volume.label_values import is_scan


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Result:
    """The label map of a scan, on the scan's own grid, and what is measured of it.

    Attributes:
        case: scan, label map, and all else that the outputs are made of.
        predicted: codes of the classes that the model can find; it never learned the others.
    """

    case: SegmentedCase
    predicted: tuple[int, ...]

    def __repr__(self) -> str:
        found = [name for name, volume in self.volumes_ml.items() if volume]
        return f"<Result {self.name}, shape {self.array.shape}, found {', '.join(found) or 'nothing'}>"

    @property
    def name(self) -> str:
        """Name of the case: that of the file without its ending; "scan" if the scan was given in memory."""
        return self.case.name

    @cached_property
    def array(self) -> npt.NDArray[np.uint8]:
        """The label codes, uint8, indexed (z, y, x) as the scan's array is; read-only, copy it to change it."""
        codes: npt.NDArray[np.uint8] = self.case.labels.array_zyx.view()
        codes.flags.writeable = False
        return codes

    @cached_property
    def labels(self) -> sitk.Image:
        """The label codes as an image with the scan's spacing, origin and direction, a copy of `array`."""
        return image_of(self.array, self.case.labels.placement)

    @property
    def names(self) -> Mapping[int, str]:
        """Name of each class that the model can find, by code; background left out."""
        return {code: self.case.names[code] for code in self.predicted if code}

    @cached_property
    def volumes_ml(self) -> Mapping[str, float]:
        """Volume in milliliters of each class that the model can find, by name; 0 if it was not found."""
        counts = np.zeros(256, dtype=np.int64)
        for slice_yx in self.array:
            counts += np.bincount(slice_yx.ravel(), minlength=counts.size)
        voxel_ml = voxel_volume_ml(self.case.labels.placement.spacing_mm)
        return {name: float(counts[code] * voxel_ml) for code, name in self.names.items()}

    @property
    def confidence(self) -> Mapping[str, float]:
        """Expected overlap with the truth of each class that was found, from 0 to 1, by name (docs/statistics.md)."""
        return {found.name: found.confidence for found in self.statistics.classes if found.confidence is not None}

    @cached_property
    def statistics(self) -> CaseStatistics:
        """All that is measured: classes, lesions, flags, contrast phase; it is measured when it is first asked for."""
        return statistics_of(self.case)

    @property
    def notices(self) -> tuple[str, ...]:
        """What `flare-infer predict` would print about this scan, one line each."""
        return self.case.notices

    @property
    def made_with(self) -> Mapping[str, Any]:
        """Facts about the run: model, hash of the weights, options, device, versions."""
        return self.case.made_with

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the label map; the ending chooses the format, and the file is there whole or not at all.

        Args:
            path: file that ends in `.nii.gz`, `.nii`, `.mha` or `.nrrd`.

        Raises:
            UsageError: if it ends otherwise, or a scan lies there.
            ImageError: if it cannot be written.
        """
        target = Path(path)
        if not image_ending(target):
            raise UsageError(f"{target}: expected a name that ends in {', '.join(IMAGE_SUFFIXES)}")
        if target.is_file() and _holds_a_scan(target):
            raise UsageError(f"{target}: holds a scan, which its label map would displace; choose another name")
        write_volume(target, self.case.labels)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write a page (HTML) with the scan under its labels and all measurements; it needs no network.

        Args:
            path: file that ends in `.html`.

        Raises:
            UsageError: if it ends otherwise.
            ImageError: if it cannot be written.
        """
        from flare_infer.page.report import write_report

        target = Path(path)
        if target.suffix.lower() != ".html":
            raise UsageError(f"{target}: expected a name that ends in .html")
        write_report(target, self.case, self.statistics)


def _holds_a_scan(path: Path) -> bool:
    try:
        return is_scan(read_volume(path).array_zyx)
    except ImageError:
        return False
