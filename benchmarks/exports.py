"""What the outputs beside the label map cost: DICOM SEG, RTSTRUCT, masks, color table.

Usage: python -m benchmarks.exports LABELS REPORT [ROUNDS]

LABELS is a label map, which is brought to 512 x 512 x 554 by repeating voxels; a DICOM series of that size, of one
value, is written beside a temporary folder's outputs. Every output is written ROUNDS times in a process that holds scan
and labels, as `predict` does; what it adds in memory is the peak above what was resident before.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from benchmarks.machine import dated
from flare_infer.dicom.find import dicom_files, find_series
from flare_infer.dicom.volume import read_series
from flare_infer.exports.color_table import colors_of, write_color_table
from flare_infer.exports.dicom_seg import write_dicom_seg
from flare_infer.exports.masks import write_masks
from flare_infer.exports.rtstruct import write_rtstruct
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.labels import NAMES
from flare_infer.results.case import SegmentedCase

SHAPE: Final = (554, 512, 512)
SPACING: Final = (1.0, 0.8, 0.8)
_MIB: Final = 2**20

Labels = npt.NDArray[np.uint8]


def main(source: Path, report: Path, rounds: int = 3) -> None:
    """Write every output, and the report."""
    labels = stretched(read_volume(source).array_zyx)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_series(folder / "series")
        case = read_case(folder / "series", labels)
        rows = [measured(name, write, rounds) for name, write in outputs(case, folder).items()]
    frames = sum(len(np.unique(plane[plane > 0])) for plane in labels)
    lines = [
        "# Outputs beside the label map",
        "",
        dated("exports.py", "numpy", "pydicom", "contourpy", "SimpleITK"),
        "",
        f"A label map of {SHAPE[2]} x {SHAPE[1]} x {SHAPE[0]} with {len(np.unique(labels)) - 1} classes in {frames} "
        f"planes (a class in a plane counts once), from `{source.name}`. Median and least of {rounds} rounds; the "
        "processor's own time besides, since other programs ran on the machine.",
        "",
        "| output | seconds, median | least | processor's seconds, least | MiB more than before | MB written |",
        "|:---|---:|---:|---:|---:|---:|",
        *rows,
    ]
    report.write_text("\n".join(lines) + "\n", encoding="utf-8")


def stretched(labels_zyx: npt.NDArray[Any]) -> Labels:
    """Voxels repeated or left out until the shape is that of the report."""
    index = [np.arange(length) * size // length for length, size in zip(SHAPE, labels_zyx.shape, strict=True)]
    return np.ascontiguousarray(labels_zyx.astype(np.uint8)[np.ix_(*index)])


def write_series(folder: Path) -> None:
    """A series whose slices hold nothing but air."""
    folder.mkdir()
    study, series, frame = (generate_uid() for _ in range(3))
    pixels = bytes(2 * SHAPE[1] * SHAPE[2])
    for z in range(SHAPE[0]):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.Modality, ds.ImageType, ds.InstanceNumber = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], z + 1
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, z * SPACING[0]], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.Rows, ds.Columns = list(SPACING[1:]), *SHAPE[1:]
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
        ds.RescaleSlope, ds.RescaleIntercept, ds.PixelData = 1, -1024, pixels
        ds.save_as(folder / f"{z:04}.dcm", enforce_file_format=True)


def read_case(folder: Path, labels: Labels) -> SegmentedCase:
    """The case that outputs are made of."""
    ((series,), _) = find_series(folder, dicom_files(folder, None))
    scan = read_series(series)
    return SegmentedCase(
        name=series.name, scan=scan, labels=replace(scan, array_zyx=labels), names=NAMES, source=series
    )


def outputs(case: SegmentedCase, folder: Path) -> dict[str, tuple[Path, Callable[[Path], None]]]:
    """Each output by name: where it is written, and by what."""
    return {
        "label map, `.nii.gz` (what is written anyway)": (folder / "a.nii.gz", lambda p: write_volume(p, case.labels)),
        "DICOM SEG": (folder / "seg.dcm", lambda p: write_dicom_seg(p, case)),
        "DICOM SEG, LABELMAP": (folder / "labelmap.dcm", lambda p: write_dicom_seg(p, case, labelmap=True)),
        "RTSTRUCT": (folder / "rtstruct.dcm", lambda p: write_rtstruct(p, case)),
        "masks, 14 files": (folder / "masks", lambda p: write_masks(p, case)),
        "color table": (folder / "a.ctbl", lambda p: write_color_table(p, case.names, colors_of(case.names))),
    }


def measured(name: str, output: tuple[Path, Callable[[Path], None]], rounds: int) -> str:
    """A row of the table."""
    path, write = output
    seconds, own, added = [], [], []
    for _ in range(rounds):
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before, start, start_own = resident("VmRSS"), time.perf_counter(), time.process_time()
        write(path)
        seconds.append(time.perf_counter() - start)
        own.append(time.process_time() - start_own)
        added.append(max(0, resident("VmHWM") - before))
    files = [path] if path.is_file() else list(path.iterdir())
    size = sum(file.stat().st_size for file in files) / 1e6
    print(name, f"{min(seconds):.2f} s", flush=True)
    return (
        f"| {name} | {median(seconds):.2f} | {min(seconds):.2f} | {min(own):.2f} | {max(added) / _MIB:.0f} "
        f"| {size:.1f} |"
    )


def resident(word: str) -> int:
    """Bytes of memory of this process, now (VmRSS) or at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(word))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
