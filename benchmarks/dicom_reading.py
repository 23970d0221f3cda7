"""Seconds to find and read a series of 512 x 512 x 554 as DICOM, against the same scan as `.nii.gz`.

Usage: python -m benchmarks.dicom_reading CT REPORT

CT is a real scan of 512 x 512; its slices are repeated, there and back, until there are 554, so that their noise is
real. Each header is that of the CT which comes with pydicom (258 elements, most of them private), with another place.
A way of compression is left out if pydicom finds no encoder for it: `pip install pyjpegls pylibjpeg-openjpeg`.
"""

import copy
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pydicom
import SimpleITK as sitk  # noqa: N813 - the field's own alias
from pydicom import uid
from pydicom.data import get_testdata_file

from benchmarks.machine import dated
from flare_infer.dicom.find import dicom_files, find_series
from flare_infer.dicom.volume import read_series
from flare_infer.formats.volume_io import read_volume

SLICES: Final = 554
RUNS: Final = 3
"""Of the uncompressed series and the `.nii.gz` by turns; what is decoded for many seconds is read once."""

WAYS: Final = {
    "uncompressed": uid.ExplicitVRLittleEndian,
    "RLE": uid.RLELossless,
    "JPEG-LS": uid.JPEGLSLossless,
    "JPEG 2000": uid.JPEG2000Lossless,
    "deflated": uid.DeflatedExplicitVRLittleEndian,
}


def main(ct: Path, report: Path) -> None:
    """Write the scan in every way, read each, and write the report."""
    source = read_volume(ct)
    own_zyx = np.clip(np.rint(source.array_zyx), -1024, 3071).astype(np.int16)
    planes = [abs((index + len(own_zyx) - 1) % (2 * len(own_zyx) - 2) - len(own_zyx) + 1) for index in range(SLICES)]
    scan = replace(source, array_zyx=own_zyx[planes])
    rows = []
    with tempfile.TemporaryDirectory(dir=report.parent) as place:
        packed = Path(place, "scan.nii.gz")
        image = sitk.GetImageFromArray(scan.array_zyx)
        image.SetSpacing(scan.placement.spacing_mm[::-1])
        sitk.WriteImage(image, str(packed), useCompression=True)
        for name, syntax in WAYS.items():
            folder = Path(place, name)
            if not write_series(folder, own_zyx, planes, syntax):
                print(f"{name}: pydicom finds no encoder")
                continue
            rows.append(_row(name, folder, packed, scan.array_zyx))
            print(rows[-1], flush=True)
            for path in folder.iterdir():
                path.unlink()
            _report(report, ct, rows)


def _report(report: Path, ct: Path, rows: list[str]) -> None:
    lines = [
        "# Reading a DICOM series of 512 x 512 x 554",
        "",
        dated("dicom_reading.py", "pydicom", "SimpleITK", "isal"),
        "",
        f"{ct.name.removesuffix('_0000.nii.gz')}, its slices repeated; files in the page cache, each read in turn "
        f"with the `.nii.gz` (uncompressed: median of {RUNS}, others: once); voxels compared. Finding: the folder is "
        "looked through, headers are read, slices put in order. The `.nii.gz` is written by ITK as it does by itself.",
        "",
        "| series | MB | find (s) | read (s) | `.nii.gz` (s) | ratio | processor time (s) | of `.nii.gz` (s) | ratio |",
        "|:---|---:|---:|---:|---:|---:|---:|---:|---:|",
        *rows,
    ]
    report.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_series(folder: Path, own_zyx: npt.NDArray[np.int16], planes: list[int], syntax: uid.UID) -> bool:
    """Write the series; whether there is an encoder for it."""
    folder.mkdir()
    template = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    del template.PixelPaddingValue
    template.Rows, template.Columns = own_zyx.shape[1:]
    template.RescaleSlope, template.RescaleIntercept, template.ImageOrientationPatient = 1, -1024, [1, 0, 0, 0, 1, 0]
    template.BitsStored, template.HighBit, template.PixelRepresentation = 12, 11, 0
    encoded: dict[int, Any] = {}
    for index, plane in enumerate(planes):
        if plane not in encoded:
            template.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
            template.PixelData = (own_zyx[plane] + 1024).astype(np.uint16).tobytes()
            template["PixelData"].VR, template["PixelData"].is_undefined_length = "OW", False
            if syntax.is_encapsulated:
                try:
                    template.compress(syntax, generate_instance_uid=False)
                except (RuntimeError, NotImplementedError):
                    return False
            encoded[plane] = template["PixelData"]
        template["PixelData"] = copy.copy(encoded[plane])
        template.file_meta.TransferSyntaxUID = syntax
        template.file_meta.MediaStorageSOPInstanceUID = template.SOPInstanceUID = f"1.2.3.{index + 1}"
        template.ImagePositionPatient, template.InstanceNumber = [-180, -180, index - 300], index + 1
        template.save_as(folder / f"{index * 7919 % SLICES:04}.dcm")
    return True


def _row(name: str, folder: Path, packed: Path, truth_zyx: npt.NDArray[np.int16]) -> str:
    found: dict[str, list[float]] = {}
    for _ in range(RUNS if name == "uncompressed" else 1):
        started, spent = time.perf_counter(), time.process_time()
        (series,), _ = find_series(folder, dicom_files(folder, None))
        found.setdefault("find", []).append(time.perf_counter() - started)
        read = read_series(series)
        found.setdefault("dicom", []).append(time.perf_counter() - started)
        found.setdefault("dicom spent", []).append(time.process_time() - spent)
        if not np.array_equal(read.array_zyx, truth_zyx):
            raise SystemExit(f"{name}: other values")
        del read
        started, spent = time.perf_counter(), time.process_time()
        read_volume(packed)
        found.setdefault("nifti", []).append(time.perf_counter() - started)
        found.setdefault("nifti spent", []).append(time.process_time() - spent)
    of = {key: statistics.median(values) for key, values in found.items()}
    megabytes = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    return (
        f"| {name} | {megabytes:.0f} | {of['find']:.1f} | {of['dicom'] - of['find']:.1f} | {of['nifti']:.1f} "
        f"| {of['dicom'] / of['nifti']:.2f} | {of['dicom spent']:.1f} | {of['nifti spent']:.1f} "
        f"| {of['dicom spent'] / of['nifti spent']:.2f} |"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
