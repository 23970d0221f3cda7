"""Cropping a CT to the body before resampling, against the field of view that is looked at now.

Usage: python -m benchmarks.body_crop DATA WEIGHTS WORK REPORT [CASE ...]

DATA holds ct/ and ct_unlabeled/ of the project's data; all CTs are taken if none is named. Each is segmented in every
way of WAYS by the same weights. WORK keeps what was found of each CT; the same command goes on from there. It computes
on one thread, and seconds are those of the processor, so that other programs hardly change them.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, Final
from unittest import mock

import cc3d
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.machine import dated, made_with
from flare_eval.accuracy.dice import dice_of_masks
from flare_eval.label_maps.annotations import FILE_NAME, read_annotations
from flare_eval.reports.summary import markdown_row
from flare_infer.files.write_whole import write_json
from flare_infer.formats.volume_io import read_volume
from flare_infer.geometry import Box, Shape, steps_apart, triple_of_ints, voxel_volume_ml
from flare_infer.labels import CODES, NAMES
from flare_infer.model.spec import ModelSpec
from flare_infer.segment.preprocess import preprocess
from flare_infer.segment.segmenter import Segmenter
from flare_infer.segment.windows import air_limit, holds_only_air, padded_shape, window_grid
from flare_infer.volume import body
from flare_infer.volume.body import Body
from flare_infer.volume.field_of_view import FieldOfView, field_of_view
from flare_infer.volume.orient import turn
from flare_infer.volume.padding import without_padding
from flare_infer.volume.volume import Volume, crop
from train.recipes.recipe import coarse

TIMED: Final = 3
"""Preprocessing is repeated that often, the ways in turn, and the least seconds count."""

TISSUE_ABOVE_HU: Final = -500.0
SAMPLED_MM: Final = 3.0
LEAST_ML: Final = 2.0
"""Of a class in a scan, for its DSC between two ways; of less a DSC says little."""

CONSEQUENCES: Final = (
    "- Padding: where a cropped scan is narrower than a window, the window is filled with the value that air has after "
    "clipping, which the air of the scan has as well. Values change where table, blanket or a cut arm were, nowhere "
    "else. Along z nothing changes: slices without tissue are cut off in every way.",
    "- Normalization: the numbers are fixed in `model.json`. In training they come from labeled voxels, all of which "
    "lie in the body, so a crop would not change them either.",
    "- Grid: lengths are rounded to whole voxels of the grid, so a crop moves and stretches it by up to half a voxel, "
    "and windows lie elsewhere. That is where other labels come from; *shifted* has it without any crop.",
    "- Training: cases that train are prepared uncropped. A model that is to see crops alone would learn from crops, "
    "and every store would be made anew.",
)
CPU: Final = torch.device("cpu")
Labels = npt.NDArray[np.uint8]
Way = Callable[[Volume, ModelSpec], FieldOfView]
Found = dict[str, Any]


def now(turned: Volume, spec: ModelSpec) -> FieldOfView:
    """As the package does it: no padding, all slices with tissue, and 150 mm of air beside it."""
    return field_of_view(turned, spec)


def shifted(turned: Volume, spec: ModelSpec) -> FieldOfView:
    """That without its first rows and columns, 2 mm of them: nothing but the grid moves, by half a voxel of `lite`."""
    view = field_of_view(turned, spec)
    _, high, wide = view.volume.placement.spacing_mm
    starts = (0, max(1, round(2 / high)), max(1, round(2 / wide)))
    return _part(turned, Box.between(starts, view.volume.shape).moved(view.box.starts))


def tissue(turned: Volume, spec: ModelSpec) -> FieldOfView:
    """The box of all tissue, table and arms included, without air beside it."""
    with mock.patch.object(body, "_KEPT_AIR_MM", 0.0):
        return field_of_view(turned, spec)


def patient(turned: Volume, spec: ModelSpec) -> FieldOfView:
    """The box of the largest connected piece of tissue, without air beside it."""
    inside = without_padding(turned.array_zyx)
    part = crop(turned, inside)
    steps = steps_apart(part.placement.spacing_mm, SAMPLED_MM)
    samples_zyx = part.array_zyx[tuple(slice(None, None, step) for step in steps)]
    pieces = cc3d.connected_components(samples_zyx > TISSUE_ABOVE_HU, connectivity=6)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    around = Box.around(pieces == sizes.argmax())
    if around is None or not sizes.any():
        return now(turned, spec)
    starts = [start * step for start, step in zip(around.starts, steps, strict=True)]
    stops = [min(stop * step, size) for stop, step, size in zip(around.stops, steps, part.array_zyx.shape, strict=True)]
    return _part(turned, Box.between(starts, stops).moved(inside.starts))


WAYS: Final[dict[str, Way]] = {"now": now, "shifted": shifted, "tissue": tissue, "patient": patient}
CROPS: Final = ("tissue", "patient")


def measured(segmenter: Segmenter, path: Path, truth: Path | None, annotated: Sequence[int]) -> Found:
    """What the report needs to know of one CT, in every way."""
    scan = read_volume(path)
    reference_zyx = None if truth is None else read_volume(truth).array_zyx
    seconds = {way: list[float]() for way in WAYS}
    coarse_seconds = {way: list[float]() for way in WAYS}
    for _ in range(TIMED):
        for way, view_of in WAYS.items():
            with _looking_at(view_of):
                seconds[way].append(_seconds(lambda: segmenter.prepare(scan))[0])
            coarse_seconds[way].append(_seconds(lambda view_of=view_of: _coarse(scan, view_of))[0])
    ways: dict[str, Found] = {}
    labels: dict[str, Labels] = {}
    for way, view_of in WAYS.items():
        with _looking_at(view_of):
            prepared = segmenter.prepare(scan)
        spent, done = _seconds(lambda prepared=prepared: segmenter.segment_prepared(prepared))
        labels[way] = done.labels.array_zyx
        shape, windows, with_tissue = _coarse(scan, view_of)
        ways[way] = {
            "prepare_seconds": min(seconds[way]),
            "seconds": min(seconds[way]) + spent,
            "voxels": prepared.image_zyx.numel(),
            "windows": done.windows,
            "ran": done.windows_ran,
            "coarse_prepare_seconds": min(coarse_seconds[way]),
            "coarse_voxels": int(np.prod(shape)),
            "coarse_windows": windows,
            "coarse_with_tissue": with_tissue,
            "equal": float((labels[way] == labels["now"]).mean()),
            "equal_labeled": _equal_where_labeled(labels[way], labels["now"]),
            "to_now": _dsc(labels[way], labels["now"], CODES, voxel_volume_ml(scan.placement.spacing_mm)),
            "to_experts": {} if reference_zyx is None else _dsc(labels[way], reference_zyx, annotated),
        }
    return {"shape": list(scan.shape), "ways": ways}


def lost_voxels(path: Path, truth: Path, spec: ModelSpec) -> dict[str, int]:
    """Voxels that experts labeled outside of what each way looks at."""
    scan, labels = (turn(read_volume(file), spec.orientation)[0] for file in (path, truth))
    count = np.count_nonzero
    return {
        way: int(count(labels.array_zyx) - count(labels.array_zyx[view_of(scan, spec).box]))
        for way, view_of in WAYS.items()
    }


def _part(turned: Volume, box: Box) -> FieldOfView:
    part = crop(turned, box)
    return FieldOfView(volume=part, box=box, body=Body.find(part.array_zyx, part.placement.spacing_mm))


def _looking_at(way: Way) -> Any:
    """Segmenters look at what a way says, in a `with`."""
    return mock.patch("flare_infer.segment.segmenter.field_of_view", way)


def _seconds(do: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of the processor, and the result."""
    begun = time.process_time()
    result = do()
    return time.process_time() - begun, result


def _coarse(scan: Volume, way: Way) -> tuple[Shape, int, int]:
    """The grid of the paper's coarse model: its shape, its windows, and those that are not all air."""
    spec = coarse().spec
    image_zyx = preprocess(way(turn(scan, spec.orientation)[0], spec).volume, spec, CPU)
    shape = triple_of_ints(image_zyx.shape)
    return shape, *_windows(image_zyx, shape, spec)


def _windows(image_zyx: Tensor, shape: Shape, spec: ModelSpec) -> tuple[int, int]:
    padded = padded_shape(shape, spec.patch)
    before = [-((wide - narrow) // 2) for wide, narrow in zip(padded, shape, strict=True)]
    grid, limit = window_grid(padded, spec.patch, spec.window_step), air_limit(spec.normalization)
    z, y, x = (range(len(starts)) for starts in grid.starts)
    boxes = [grid.box(one, row, column).moved(before) for one in z for row in y for column in x]
    seen = [box.overlap(Box.at((0, 0, 0), shape)) for box in boxes]
    return grid.count, sum(not holds_only_air(image_zyx, box, limit) for box in seen)


def _equal_where_labeled(one: Labels, other: Labels) -> float:
    labeled = (one > 0) | (other > 0)
    return float((one == other)[labeled].mean()) if labeled.any() else 1.0


def _dsc(found: Labels, truth: Labels, codes: Iterable[int], voxel_ml: float | None = None) -> dict[str, float]:
    """DSC by code; of classes of some volume in the truth, or of all that one of both has."""
    scores = {}
    for code in codes:
        one, other = found == code, truth == code
        if other.sum() * voxel_ml >= LEAST_ML if voxel_ml else one.any() or other.any():
            scores[str(code)] = float(dice_of_masks(one, other))
    return scores


def report(found: Mapping[str, Found], lost: Mapping[str, int], weights: Path) -> str:
    """The report on all CTs; `lost` are the labeled voxels that each way cuts off."""
    labeled = sum(bool(case["ways"]["now"]["to_experts"]) for case in found.values())
    shapes = len({tuple(case["shape"]) for case in found.values()})
    lines = [
        "# Cropping to the body before resampling",
        "",
        dated("body_crop.py", "numpy"),
        made_with(weights),
        "",
        f"{len(found)} real CTs of {shapes} shapes; {labeled} of them have labels of experts. On one thread in "
        f"float32, seconds of the processor; preprocessing is the least of {TIMED} times.",
        "",
        "- *now*: what the package looks at: the scan without padding, all slices with tissue, up to 150 mm of air "
        "beside it.",
        "- *shifted*: the same without 2 mm at the front and at the right. This moves the grid and the windows and "
        "takes nothing of the patient, so it says how much labels depend on where a grid happens to begin.",
        "- *tissue*: the box of all tissue, without air beside it. Table and arms count.",
        "- *patient*: the box of the largest connected piece of tissue, without air beside it.",
        "",
        "## Cost, all CTs together",
        "",
        markdown_row(["", *WAYS]),
        markdown_row([":---", *("---:" for _ in WAYS)]),
        *_cost_rows(found),
        "",
        "*Shifted* and *tissue* look for the body once more than a scan needs of which nothing is cut.",
        "",
        "For `coarse` no network ran: there are no trained weights of it. Its windows that hold tissue are the most "
        "that can run; indicators leave out more.",
        "",
        "## Labels against those of now",
        "",
        markdown_row(["", *list(WAYS)[1:]]),
        markdown_row([":---", *("---:" for _ in list(WAYS)[1:])]),
        *_change_rows(found),
        "",
        f"DSC: mean over the CTs with at least {LEAST_ML:g} mL of the class (least).",
        "",
        "## Labels against those of experts: mean DSC in percent",
        "",
        markdown_row(["class", "CTs", *WAYS]),
        markdown_row([":---", "---:", *("---:" for _ in WAYS)]),
        *_expert_rows(found),
        "",
        "Voxels that experts labeled and that are cut off: "
        + ", ".join(f"{way} {count}" for way, count in lost.items())
        + ".",
        "",
        "Most of these CTs trained the weights: the column says which way fits them better, not how well they segment.",
        "",
        "## What a crop does to padding and normalization",
        "",
        *CONSEQUENCES,
        "",
        "## CT by CT",
        "",
        markdown_row(
            ["CT", "shape (z, y, x)", *_both("thousand voxels"), *_both("windows run"), *_both("DSC to experts")]
        ),
        markdown_row([":---", ":---", *["---:"] * 6]),
        *(_case_row(name, case) for name, case in found.items()),
    ]
    return "\n".join(lines) + "\n"


def _both(what: str) -> list[str]:
    return [f"{what}, now", "patient"]


def _cost_rows(found: Mapping[str, Found]) -> Iterator[str]:
    fields = {
        "seconds of preprocessing": ("prepare_seconds", 1, ".2f"),
        "seconds in all": ("seconds", 1, ".1f"),
        "million voxels on the grid": ("voxels", 1e6, ".2f"),
        "windows": ("windows", 1, ".0f"),
        "windows that ran": ("ran", 1, ".0f"),
        "`coarse`: seconds of preprocessing": ("coarse_prepare_seconds", 1, ".2f"),
        "`coarse`: million voxels on the grid": ("coarse_voxels", 1e6, ".1f"),
        "`coarse`: windows": ("coarse_windows", 1, ".0f"),
        "`coarse`: windows that hold tissue": ("coarse_with_tissue", 1, ".0f"),
    }
    for title, (field, unit, form) in fields.items():
        totals = [sum(case["ways"][way][field] for case in found.values()) / unit for way in WAYS]
        yield markdown_row([title, *(format(total, form) for total in totals)])


def _change_rows(found: Mapping[str, Found]) -> Iterator[str]:
    others = list(WAYS)[1:]
    for title, field in (("all voxels", "equal"), ("voxels that either labels", "equal_labeled")):
        shares = [[case["ways"][way][field] for case in found.values()] for way in others]
        yield markdown_row([f"{title}: percent equal (least)", *_mean_and_least(shares, 3)])
    changed = [sum(case["ways"][way]["equal"] < 1 for case in found.values()) for way in others]
    yield markdown_row(["CTs with other labels", *map(str, changed)])
    for code in CODES:
        scores = [
            [
                case["ways"][way]["to_now"][str(code)]
                for case in found.values()
                if str(code) in case["ways"][way]["to_now"]
            ]
            for way in others
        ]
        if not scores[0]:
            continue
        yield markdown_row([f"{NAMES[code]}: DSC ({len(scores[0])} CTs)", *_mean_and_least(scores, 1)])


def _mean_and_least(values: Sequence[Sequence[float]], digits: int) -> list[str]:
    return [f"{100 * mean(row):.{digits}f} ({100 * min(row):.{digits}f})" if row else "-" for row in values]


def _expert_rows(found: Mapping[str, Found]) -> Iterator[str]:
    means: dict[str, list[float]] = {way: [] for way in WAYS}
    for code in CODES:
        cases = [
            case["ways"] for case in found.values() if any(str(code) in case["ways"][way]["to_experts"] for way in WAYS)
        ]
        if not cases:
            continue
        scores = [[case[way]["to_experts"].get(str(code), 1.0) for case in cases] for way in WAYS]
        for way, row in zip(WAYS, scores, strict=True):
            means[way].append(100 * mean(row))
        yield markdown_row([NAMES[code], str(len(cases)), *(f"{100 * mean(row):.2f}" for row in scores)])
    yield markdown_row(["mean of the classes", "", *(f"{mean(row):.2f}" for row in means.values())])


def _case_row(name: str, case: Found) -> str:
    cells = [name, " x ".join(map(str, case["shape"]))]
    both = [case["ways"][way] for way in ("now", "patient")]
    cells += [f"{way['voxels'] / 1000:.0f}" for way in both]
    cells += [f"{way['ran']} of {way['windows']}" for way in both]
    cells += [f"{100 * mean(way['to_experts'].values()):.1f}" if way["to_experts"] else "" for way in both]
    return markdown_row(cells)


def main(data: Path, weights: Path, work: Path, report_file: Path, names: Sequence[str]) -> None:
    """Measure what is not measured yet, and write the report."""
    torch.set_num_threads(1)
    segmenter = Segmenter.load(weights)
    annotated = read_annotations(data / "ct" / FILE_NAME).cases
    scans = {
        path.name.removesuffix("_0000.nii.gz"): path
        for folder in ("ct", "ct_unlabeled")
        for path in sorted((data / folder).glob("*_0000.nii.gz"))
    }
    found: dict[str, Found] = {}
    lost = dict.fromkeys(WAYS, 0)
    work.mkdir(parents=True, exist_ok=True)
    for name in names or scans:
        kept, truth = work / f"{name}.json", data / "ct" / f"{name}_labels.nii.gz"
        if not kept.exists():
            case = measured(segmenter, scans[name], truth if truth.exists() else None, annotated.get(name, ()))
            write_json(kept, {**case, "weights": segmenter.weights_sha256})
        case = json.loads(kept.read_text(encoding="utf-8"))
        if case["weights"] != segmenter.weights_sha256:
            raise SystemExit(f"{kept}: found with other weights; choose another folder")
        found[name] = case
        if truth.exists():
            for way, count in lost_voxels(scans[name], truth, segmenter.spec).items():
                lost[way] += count
        print(name, *(f"{way}: {one['ran']} {one['seconds']:.1f} s" for way, one in case["ways"].items()), flush=True)
    report_file.write_text(report(found, lost, weights), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:5]), names=sys.argv[5:])
