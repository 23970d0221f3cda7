"""Counts of lesions of real label maps, deformed and with lesions added, against the package `picai_eval`.

Usage: python -m benchmarks.same_as_picai_eval DATA REPORT [EVERY]

DATA holds ct/NAME_labels.nii.gz and label maps of liver tumors in labels/liver_tumor. EVERY is a step: 5 takes every
fifth map (default 1). Needs `pip install picai_eval`.
"""

import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from benchmarks.machine import dated
from flare_eval.accuracy.froc import FALSE_PER_SCAN, froc
from flare_eval.accuracy.lesions import CaseLesions, compare_lesions
from flare_eval.label_maps.label_map import TrimmedLabelMap
from flare_infer.formats.volume_io import read_volume
from flare_infer.geometry import Box
from flare_infer.labels import TUMOR
from flare_infer.volume.volume import Placement

MARGIN = 8
SEED = 0


def main(data: Path, report: Path, every: int) -> None:
    """Compare all maps and write the report."""
    with contextlib.redirect_stdout(io.StringIO()):  # the package greets on import
        from picai_eval import evaluate
    maps = [*sorted((data / "ct").glob("*_labels.nii.gz")), *sorted((data / "labels/liver_tumor").glob("*.nii.gz"))]
    cases: list[CaseLesions] = []
    detections, truths = [], []
    random = np.random.default_rng(SEED)
    for path in maps[::every]:
        volume = read_volume(path)
        box = Box.around(volume.array_zyx == TUMOR)
        if box is None:
            continue
        reference = np.pad(volume.array_zyx[box] == TUMOR, MARGIN)
        for prediction in predictions(reference, random):
            lesions, detected = with_confidences(prediction, reference, volume.placement, random)
            cases.append(lesions)
            detections.append(detected)
            truths.append(reference.astype(np.int32))
    theirs = evaluate(detections, truths, num_parallel_calls=1)
    ours = froc(cases)
    if ours is None:
        raise SystemExit("no tumor found in these label maps")
    for case, lesions in zip(cases, theirs.lesion_results.values(), strict=True):
        found = sum(bool(truth and confidence > 0) for truth, confidence, _ in lesions)
        reference_lesions, false = sum(truth for truth, _, _ in lesions), sum(not truth for truth, _, _ in lesions)
        counted = (len(case.found), len(case.reference), len(case.false))
        if counted != (found, reference_lesions, false):
            raise SystemExit(f"{counted}, expected {(found, reference_lesions, false)}")
    theirs_at = {rate: sensitivity(theirs, rate) for rate in FALSE_PER_SCAN}
    worst = max(abs(ours.sensitivity_at(rate) - expected) for rate, expected in theirs_at.items())
    found = sum(len(case.found) for case in cases)
    false = sum(len(case.false) for case in cases)
    report.write_text(
        "# Counts of lesions against `picai_eval`\n\n"
        f"{dated('same_as_picai_eval.py', 'picai_eval', 'numpy', 'scipy')}\n\n"
        f"{len(cases)} predictions, made from the tumors of {len(maps[::every])} real label maps (those without a "
        "tumor are passed over): moved, eroded, with lesions left out, and with balls added. "
        f"{ours.lesions} lesions in the references, {found} found, {false} false ones: in every case the same three "
        f"numbers by both. Sensitivity at {', '.join(f'{rate:g}' for rate in FALSE_PER_SCAN)} false lesions a scan: "
        f"largest difference {worst:.1e}.\n",
        encoding="utf-8",
    )
    print(report.read_text(encoding="utf-8"))


def sensitivity(metrics: Any, rate: float) -> float:
    """Their largest sensitivity with at most so many false lesions a scan."""
    reached = metrics.lesion_TPR[metrics.lesion_FPR <= rate + 1e-9]
    return float(reached.max(initial=0.0))


def predictions(reference: npt.NDArray[np.bool_], random: np.random.Generator) -> Iterator[npt.NDArray[np.bool_]]:
    """Predictions as a network may make them, all with balls that are no lesion."""
    parts, count = ndimage.label(reference, np.ones((3, 3, 3)))
    kept = np.isin(parts, 1 + np.flatnonzero(random.random(count) < 0.7))
    changed = (
        np.roll(kept, (1, 2, -1), axis=(0, 1, 2)),
        ndimage.binary_erosion(reference),
        reference & ~middle_plane(parts),
    )
    for mask in changed:
        added = np.zeros_like(mask)
        for center in random.integers(0, mask.shape, (3, 3)):
            added[tuple(center)] = True
        yield mask | ndimage.binary_dilation(added, iterations=2)


def middle_plane(parts: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """A plane through the middle of the map: it cuts lesions there into parts."""
    cut = np.zeros(parts.shape, dtype=np.bool_)
    cut[:, :, parts.shape[2] // 2] = True
    return cut


def with_confidences(
    prediction: npt.NDArray[np.bool_],
    reference: npt.NDArray[np.bool_],
    placement: Placement,
    random: np.random.Generator,
) -> tuple[CaseLesions, npt.NDArray[np.float32]]:
    """Our lesions with random confidences, and the same as a detection map of theirs."""
    from dataclasses import replace

    lesions = compare_lesions(trimmed(prediction, placement), trimmed(reference, placement))
    detected = np.zeros(prediction.shape, dtype=np.float32)
    parts, count = ndimage.label(prediction, np.ones((3, 3, 3)))
    confidences = random.integers(1, 100, count) / 100
    detected[prediction] = confidences[parts[prediction] - 1]
    sizes = np.bincount(parts.ravel())[1:]
    order = np.argsort(-sizes, kind="stable")
    confident = tuple(
        replace(lesion, confidence=float(np.float32(confidences[order[lesion.number - 1]])))
        for lesion in lesions.predicted
    )
    return replace(lesions, predicted=confident), detected


def trimmed(mask: npt.NDArray[np.bool_], placement: Placement) -> TrimmedLabelMap:
    """A mask as a label map of tumors."""
    box = Box.at((0, 0, 0), mask.shape)
    return TrimmedLabelMap(array_zyx=(mask * TUMOR).astype(np.uint8), box=box, shape=box.shape, placement=placement)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1)
