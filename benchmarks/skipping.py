"""Windows saved against DSC lost, over the thresholds of the indicator rule.

Usage: python -m benchmarks.skipping DATA WEIGHTS REPORT [DEPTH]

DATA holds ct/NAME_0000.nii.gz, ct/NAME_labels.nii.gz, ct/annotated.json and ct_unlabeled/NAME_0000.nii.gz. Every CT is
segmented without skipping, with windows of air passed over, and with each threshold; what is compared are the labels of
one model with each other, and with the reference where there is one. The same again with windows of DEPTH planes: what
the rule saves hangs on how far a window reaches, and the paper's reach 80 mm along z.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from torch import Tensor

from benchmarks.machine import dated
from flare_eval.accuracy.dice import dice_of_masks
from flare_eval.label_maps.annotations import FILE_NAME, read_annotations
from flare_infer.formats.volume_io import read_volume
from flare_infer.model.ensemble import Run
from flare_infer.model.model_file import read_model_file
from flare_infer.model.spec import Skipping
from flare_infer.segment.segmenter import Segmenter

NEVER_A_TEST_CASE: Final = "lits117_crop"
"""Its header does not say where and how large its voxels are."""

THRESHOLDS: Final = (0, 1, 30, 100, 300, 1000, 3000, 10000)
"""Foreground voxels below which the other windows of a z position do not run; 0: windows of air only."""

MINIMAL_POSITIONS: Final = 1
"""The rule is tried in every scan, also in those that are too short for it by default."""

Labels = npt.NDArray[np.uint8]


@dataclass
class Tally:
    """One row of the table.

    Attributes:
        ran: windows that ran, over all cases.
        equal: share of equal voxels in each case.
        least: (DSC against no skipping, case, class) of the class of a case that changed most.
        lost: DSC against the reference without skipping minus with it, of every annotated class of every case.
    """

    ran: int = 0
    equal: list[float] = field(default_factory=list)
    least: tuple[float, str, str] = (1.0, "-", "-")
    lost: list[float] = field(default_factory=list)


class Remembering:
    """A network that answers from memory a window it has seen: thresholds differ in the windows they ask for."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.answers: dict[int, Tensor] = {}

    def __call__(self, batch_nczyx: Tensor) -> Tensor:
        """Logits of a batch."""
        key = hash(batch_nczyx.numpy().tobytes())
        if key not in self.answers:
            self.answers[key] = self.run(batch_nczyx)
        return self.answers[key]


def main(data: Path, weights: Path, report: Path, depths: list[int]) -> None:
    """Segment every CT with every threshold, with the model's own windows and with others, and write the report."""
    spec = read_model_file(weights).spec
    lines = [
        f"# Windows saved against DSC lost: {spec.name}",
        "",
        dated("skipping.py"),
        "",
        "A threshold of 0 passes over windows of air only; the others also apply the indicator rule, here in every "
        "scan, however short. DSC to no skipping: of the class of a case that changed most.",
    ]
    for depth in (spec.patch[0], *depths):
        segmenter = Segmenter.load(weights)
        windows = replace(segmenter.spec, patch=(depth, *segmenter.spec.patch[1:]))
        memory = Remembering(segmenter.run)
        lines += ["", *_table(data, replace(segmenter, spec=windows, run=memory), memory)]
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _table(data: Path, segmenter: Segmenter, memory: Remembering) -> list[str]:
    """One row for every threshold, over all CTs."""
    rows = {threshold: Tally() for threshold in THRESHOLDS}
    windows, default = 0, Tally()
    for name, path in _cts(data):
        memory.answers.clear()
        scan = segmenter.prepare(read_volume(path))
        whole = replace(segmenter, skipping=False).segment_prepared(scan)
        windows += whole.windows
        reference = _reference(data, name)
        tried = [
            (rows[count], Skipping(foreground_voxels=count, minimal_positions=MINIMAL_POSITIONS)) for count in rows
        ]
        for tally, rule in [*tried, (default, segmenter.spec.skipping)]:
            found = replace(segmenter, spec=replace(segmenter.spec, skipping=rule)).segment_prepared(scan)
            tally.ran += found.windows_ran
            _compare(tally, name, found.labels.array_zyx, whole.labels.array_zyx, reference, segmenter.spec.labels)
        print(name, whole.windows, {threshold: tally.ran for threshold, tally in rows.items()}, flush=True)
    spec, rule = segmenter.spec, segmenter.spec.skipping
    extent = " x ".join(f"{size * spacing:g}" for size, spacing in zip(spec.patch, spec.spacing_mm, strict=True))
    return [
        f"## Windows of {' x '.join(str(size) for size in spec.patch)} voxels, {extent} mm",
        "",
        f"{len(default.equal)} real CTs, {windows} windows without skipping.",
        "",
        "| threshold, voxels | windows run | saved | equal voxels, least of a case | DSC to no skipping, least | of | "
        "DSC lost against the reference: mean | most |",
        "|---:|---:|---:|---:|---:|:---|---:|---:|",
        *(_row(str(threshold), tally, windows) for threshold, tally in rows.items()),
        _row(f"default: {rule.foreground_voxels}, from {rule.minimal_positions} z positions", default, windows),
    ]


def _cts(data: Path) -> Iterator[tuple[str, Path]]:
    for folder in (data / "ct", data / "ct_unlabeled"):
        for path in sorted(folder.iterdir()):
            name = path.name.removesuffix("_0000.nii.gz")
            if name not in {path.name, NEVER_A_TEST_CASE}:
                yield name, path


def _reference(data: Path, name: str) -> Mapping[int, npt.NDArray[np.bool_]]:
    """Masks of the annotated classes; none for an unlabeled CT."""
    path = data / "ct" / f"{name}_labels.nii.gz"
    if not path.is_file():
        return {}
    labels_zyx = read_volume(path).array_zyx
    return {code: labels_zyx == code for code in read_annotations(data / "ct" / FILE_NAME).codes_of(name)}


def _compare(
    tally: Tally,
    name: str,
    found: Labels,
    whole: Labels,
    reference: Mapping[int, npt.NDArray[np.bool_]],
    names: tuple[str, ...],
) -> None:
    tally.equal.append(float((found == whole).mean()))
    for code in range(1, len(names)):
        mask, before = found == code, whole == code
        if before.any() or mask.any():
            tally.least = min(tally.least, (dice_of_masks(mask, before), name, names[code]))
        if code in reference:
            tally.lost.append(dice_of_masks(before, reference[code]) - dice_of_masks(mask, reference[code]))


def _row(title: str, tally: Tally, windows: int) -> str:
    dice, case, label = tally.least
    lost = np.asarray(tally.lost)
    return (
        f"| {title} | {tally.ran} | {1 - tally.ran / windows:.1%} | {min(tally.equal):.6f} | {dice:.4f} | "
        f"{case}, {label} | {lost.mean():+.5f} | {lost.max():+.4f} |"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), [int(text) for text in sys.argv[4:]])
