"""Volumes of the shapes that are compared: a real CT, stretched along z and resampled in the plane."""

from pathlib import Path
from typing import Final

import SimpleITK as sitk  # noqa: N813

TABLE_5: Final = {55: 5.0, 100: 5.0, 150: 2.5, 215: 2.5, 334: 1.25, 448: 1.0, 499: 1.0, 554: 1.0}
"""Box of the eight cases of the paper's Table 5, all 512 x 512, and the thickness (mm) each is given here."""

PLANE: Final = 512
PLANE_SPACING_MM: Final = 0.8
AIR_HU: Final = -1024


def make_volume(source: Path, slices: int, target: Path) -> None:
    """Write a CT as 512 x 512 x `slices`, stored in LPS.

    The field of view in the plane is 410 mm: what the source does not cover is air.
    """
    image = sitk.DICOMOrient(sitk.ReadImage(str(source)), "LPS")
    thickness = TABLE_5[slices]
    stretched = sitk.Image(image)
    stretched.SetOrigin((0.0, 0.0, 0.0))
    stretched.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, 1))
    width, height, depth = image.GetSize()
    spacing = image.GetSpacing()
    stretched.SetSpacing((spacing[0], spacing[1], thickness * slices / depth))
    resample = sitk.ResampleImageFilter()
    resample.SetSize((PLANE, PLANE, slices))
    resample.SetOutputSpacing((PLANE_SPACING_MM, PLANE_SPACING_MM, thickness))
    middle = [spacing[0] * width / 2, spacing[1] * height / 2]
    resample.SetOutputOrigin([center - PLANE * PLANE_SPACING_MM / 2 for center in middle] + [0.0])
    resample.SetInterpolator(sitk.sitkLinear)
    resample.SetDefaultPixelValue(AIR_HU)
    sitk.WriteImage(resample.Execute(stretched), str(target), useCompression=True)
