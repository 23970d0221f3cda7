"""Reading, the image pass and writing: ours against SimpleITK and against PyTorch's plain way.

Usage: python -m benchmarks.edges DATA REPORT [RUNS]

DATA holds ct/lidc_chest_0000.nii.gz and ct/lidc_chest_labels.nii.gz, a real CT of 512 x 512 voxels a plane with its
labels. It is resampled along z to 55, 215 and 554 planes of int16. Each step runs RUNS times (7) in a process of its
own, for its median and its peak of memory above what the process held before; the ways take turns, so that a slow
moment of the machine meets them all.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813

from benchmarks.machine import dated

ROOT = Path(__file__).resolve().parent.parent
SOURCE = "lidc_chest"
DEPTHS = (55, 215, 554)
SPACING_MM = (2.5, 1.5, 1.5)
"""Of the paper's coarse model."""

FIELD = {"lowest_hu": -934.0, "highest_hu": 276.0, "mean_hu": 78.691, "std_hu": 128.488}
ROUNDS = 3


def main(data: Path, report: Path, runs: int) -> None:
    """Make the volumes, measure each step in processes of its own, write the report."""
    lines = [
        "# The edges of inference: reading, the image pass, writing",
        "",
        dated("edges.py", "SimpleITK", "isal"),
        "",
        f"A real CT of the chest, resampled along z; the model's grid has {' x '.join(map(str, SPACING_MM))} mm.",
        f"Each figure is the median of {runs} runs in a process; the least of {ROUNDS} processes, and the largest,",
        "which says how quiet the machine was. Memory is the peak above what the process held before; arrays",
        "given to the step are not counted.",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for depth in DEPTHS:
            scan, labels = _make(data, Path(folder), depth)
            lines += ["", f"## 512 x 512 x {depth}", "", "| step | way | seconds | largest | peak memory (MB) |"]
            lines += ["|:---|:---|---:|---:|---:|"]
            found: dict[tuple[str, str], list[dict[str, float]]] = {}
            for _ in range(ROUNDS):
                for step, way in STEPS:
                    found.setdefault((step, way), []).append(_measure(step, way, scan, labels, runs))
            for (step, way), results in found.items():
                seconds = [result["seconds"] for result in results]
                peak = max(result["peak_mb"] for result in results)
                lines.append(f"| {step} | {way} | {min(seconds):.3f} | {max(seconds):.3f} | {peak:.0f} |")
            difference = _measure("difference", "image", scan, labels, 1)["value"]
            sizes = _measure("difference", "files", scan, labels, 1)
            lines += [
                "",
                f"Image: at most {difference:.1e} apart (of a range of {_range():.1f}). Arrays and geometry read: "
                f"identical. Label file: {sizes['ours']:.0f} KB (SimpleITK {sizes['itk']:.0f} KB), the same bytes "
                "after decompression.",
            ]
            scan.unlink()
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _make(data: Path, folder: Path, depth: int) -> tuple[Path, Path]:
    """A CT and a label map with so many planes, from the real ones."""
    made = []
    for kind, interpolator, pixel in (
        ("0000", sitk.sitkLinear, sitk.sitkInt16),
        ("labels", sitk.sitkNearestNeighbor, sitk.sitkUInt8),
    ):
        image = sitk.ReadImage(str(data / "ct" / f"{SOURCE}_{kind}.nii.gz"))
        width, height, planes = image.GetSize()
        resampler = sitk.ResampleImageFilter()
        resampler.SetReferenceImage(image)
        resampler.SetSize((width, height, depth))
        x_mm, y_mm, z_mm = image.GetSpacing()
        resampler.SetOutputSpacing((x_mm, y_mm, z_mm * planes / depth))
        resampler.SetInterpolator(interpolator)
        path = folder / f"{depth}_{kind}.nii.gz"
        sitk.WriteImage(sitk.Cast(resampler.Execute(image), pixel), str(path))
        made.append(path)
    return made[0], made[1]


def _measure(step: str, way: str, scan: Path, labels: Path, runs: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--step", step, way, str(scan), str(labels), str(runs)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _step(step: str, way: str, scan: Path, labels: Path, runs: int) -> dict[str, float]:
    """What a process of its own does."""
    if step == "difference":
        return _difference(way, scan, labels)
    with tempfile.TemporaryDirectory() as folder:
        call = STEPS[step, way](scan, labels, Path(folder))
        before_mb, seconds = _peak_mb(), []
        for _ in range(runs):
            started = time.perf_counter()
            result = call()
            seconds.append(time.perf_counter() - started)
            del result
        return {"seconds": statistics.median(seconds), "peak_mb": _peak_mb() - before_mb}


def _peak_mb() -> float:
    """The largest resident memory of this process so far; unlike getrusage, it does not count the parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _read_ours(scan: Path, labels: Path, folder: Path) -> Callable[[], object]:
    from flare_infer.formats.volume_io import read_volume

    return lambda: read_volume(scan)


def _read_itk(scan: Path, labels: Path, folder: Path) -> Callable[[], object]:
    return lambda: sitk.GetArrayFromImage(sitk.ReadImage(str(scan)))


def _image_ours(scan: Path, labels: Path, folder: Path) -> Callable[[], object]:
    import torch

    from flare_infer.formats.volume_io import read_volume
    from flare_infer.model.spec import Normalization
    from flare_infer.segment.preprocess import clip, standardize
    from flare_infer.segment.resample import resample_stored

    volume = read_volume(scan)
    normalization = Normalization(
        clip_low_hu=FIELD["lowest_hu"],
        clip_high_hu=FIELD["highest_hu"],
        mean_hu=FIELD["mean_hu"],
        std_hu=FIELD["std_hu"],
    )
    shape, device = _target(volume.shape, volume.placement.spacing_mm), torch.device("cpu")
    return lambda: standardize(
        resample_stored(volume.array_zyx, shape, device, lambda planes: clip(planes, normalization)), normalization
    )


def _image_torch(scan: Path, labels: Path, folder: Path) -> Callable[[], object]:
    import torch

    from flare_infer.formats.volume_io import read_volume

    volume = read_volume(scan)
    shape = _target(volume.shape, volume.placement.spacing_mm)

    def call() -> object:
        image_zyx = torch.from_numpy(volume.array_zyx).float().clamp_(FIELD["lowest_hu"], FIELD["highest_hu"])
        image_zyx.sub_(FIELD["mean_hu"]).div_(FIELD["std_hu"])
        interpolate = torch.nn.functional.interpolate
        return interpolate(image_zyx[None, None], size=shape, mode="trilinear", align_corners=False)[0, 0]

    return call


def _write_ours(scan: Path, labels: Path, folder: Path) -> Callable[[], object]:
    from flare_infer.formats.volume_io import read_volume, write_volume

    volume = read_volume(labels)
    return lambda: write_volume(folder / "ours.nii.gz", volume)


def _write_itk(scan: Path, labels: Path, folder: Path) -> Callable[[], object]:
    given = sitk.ReadImage(str(labels))
    array_zyx = sitk.GetArrayFromImage(given)

    def call() -> None:
        image = sitk.GetImageFromArray(array_zyx)
        image.CopyInformation(given)
        sitk.WriteImage(image, str(folder / "itk.nii.gz"), useCompression=True, compressionLevel=1)

    return call


STEPS: dict[tuple[str, str], Callable[[Path, Path, Path], Callable[[], object]]] = {
    ("read", "ours"): _read_ours,
    ("read", "SimpleITK"): _read_itk,
    ("image", "ours"): _image_ours,
    ("image", "torch, whole array"): _image_torch,
    ("write labels", "ours"): _write_ours,
    ("write labels", "SimpleITK, level 1"): _write_itk,
}
"""By step and way: from scan, label map and a folder to what is timed."""


def _difference(what: str, scan: Path, labels: Path) -> dict[str, float]:
    """How far the ways are apart; ends the process if arrays, geometry or written bytes are not the same."""
    import gzip

    from flare_infer.formats.volume_io import read_volume

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if what == "image":
            ours: Any = _image_ours(scan, labels, folder)()
            return {"value": float((ours - _image_torch(scan, labels, folder)()).abs().max())}
        volume, image = read_volume(scan), sitk.ReadImage(str(scan))
        same = np.array_equal(volume.array_zyx, sitk.GetArrayViewFromImage(image))
        same &= volume.placement.spacing_mm == image.GetSpacing()[::-1]
        same &= volume.placement.origin_mm == image.GetOrigin()
        same &= np.asarray(volume.placement.axes)[::-1].T.ravel().tolist() == list(image.GetDirection())
        _write_ours(scan, labels, folder)()
        _write_itk(scan, labels, folder)()
        packed = [(folder / f"{way}.nii.gz").read_bytes() for way in ("ours", "itk")]
        if not same or gzip.decompress(packed[0]) != gzip.decompress(packed[1]):
            raise SystemExit("what is read or written is not the same")
        return {"ours": len(packed[0]) / 1000, "itk": len(packed[1]) / 1000}


def _target(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> tuple[int, int, int]:
    from flare_infer.geometry import resampled_shape

    return resampled_shape(shape, spacing_mm, SPACING_MM)


def _range() -> float:
    return (FIELD["highest_hu"] - FIELD["lowest_hu"]) / FIELD["std_hu"]


if __name__ == "__main__":
    if sys.argv[1] == "--step":
        print(json.dumps(_step(*sys.argv[2:4], Path(sys.argv[4]), Path(sys.argv[5]), int(sys.argv[6]))))
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 7)
