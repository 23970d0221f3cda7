"""Which classes a dataset seems to annotate, judged by the values in its label maps."""

import json
import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from flare_eval.label_maps.annotations import FILE_NAME
from flare_infer.errors import DatasetError, UsageError
from flare_infer.files.write_whole import write_whole
from train.dataset.cases import annotated_codes, read_dataset_annotations
from train.dataset.check import contradictions, read_pair
from train.dataset.label_coding import CHALLENGE_CODING, LabelCoding, read_coding
from train.dataset.label_mapping import LabelMapping
from train.dataset.layout import ImageAndLabels, find_pairs
from train.problems import collected
from train.workers import try_each

FEW_LACKING: Final = 3
"""Number of classes that a label type may lack of another one and still be the same type, with absent organs."""


@dataclass(frozen=True, kw_only=True)
class DatasetScan:
    """What was found in a dataset.

    Attributes:
        present: codes that occur in the label map of each usable case, in increasing order; empty for a map of zeros.
        problems: one line for each problem.
        confirmed: names of the cases whose annotated classes `annotated.json` states.
        coding: what the numbers in the label maps mean.
        doubts: one line for each doubt about the CT of a usable case.
    """

    present: Mapping[str, tuple[int, ...]]
    problems: tuple[str, ...]
    confirmed: frozenset[str] = frozenset()
    coding: LabelCoding = CHALLENGE_CODING
    doubts: tuple[str, ...] = ()

    @property
    def unexplained(self) -> list[str]:
        """Names of the cases without any label for which it is not yet stated which classes were looked for."""
        return [name for name, codes in self.present.items() if not codes and name not in self.confirmed]

    @property
    def label_types(self) -> dict[tuple[int, ...], list[str]]:
        """Cases by the set of codes that occur in them (the paper's label types), the most frequent first."""
        types: dict[tuple[int, ...], list[str]] = defaultdict(list)
        for name, codes in sorted(self.present.items()):
            types[codes].append(name)
        return dict(sorted(types.items(), key=lambda item: (-len(item[1]), item[0])))


def scan_dataset(
    folder: Path,
    workers: int = 1,
    progress: Callable[[int], None] = lambda total: None,
    mapping: LabelMapping | None = None,
) -> DatasetScan:
    """Read every image and label map of a dataset; `annotated.json` is not needed, but checked if it is there.

    Args:
        folder: the dataset, in nnU-Net's raw layout or the challenge's.
        workers: number of processes.
        progress: callback after each case, with the number of all cases.
        mapping: the mapping given with `--map`, see `read_coding`.
    """
    pairs, problems = find_pairs(folder)
    coding: LabelCoding | None = None
    with collected(problems if folder.is_dir() else []):
        coding = read_coding(folder, mapping)
    work = partial(_present_and_doubts, coding=coding)
    results, more = try_each(work, list(pairs.items()), workers, partial(progress, len(pairs)))
    problems += more
    found = {name: result for name, result in zip(pairs, results, strict=True) if result is not None}
    present = {name: codes for name, (codes, _) in found.items()}
    confirmed = frozenset[str]()
    if coding is None:  # what the numbers mean is not known
        present = {}
    else:
        confirmed, wrong = _confirmed(folder, present, coding)
        problems += wrong
    return DatasetScan(
        present=present,
        problems=tuple(problems),
        confirmed=confirmed,
        coding=coding or CHALLENGE_CODING,
        doubts=tuple(f"{name}: {doubt}" for name, (_, doubts) in found.items() for doubt in doubts),
    )


def doubtful_label_types(types: Mapping[tuple[int, ...], list[str]]) -> dict[tuple[int, ...], tuple[int, ...]]:
    """Label types that lack few classes of another one, each with the codes that it lacks.

    Whether these organs are absent (then the case annotates them) or were not drawn has to be decided by people.

    Args:
        types: names of the cases of each label type.
    """
    lacking: dict[tuple[int, ...], tuple[int, ...]] = {}
    for codes in filter(None, types):
        wider = [tuple(sorted(set(other) - set(codes))) for other in types if set(codes) < set(other)]
        close = [missing for missing in wider if len(missing) <= FEW_LACKING]
        if close:
            lacking[codes] = min(close, key=lambda missing: (len(missing), missing))
    return lacking


def write_proposal(folder: Path, present: Mapping[str, tuple[int, ...]]) -> Path:
    """Write `annotated.json` as if every class that does not occur in a case were not annotated in it.

    Raises:
        UsageError: if the file exists already: it may state more than label values show.
    """
    path = folder / FILE_NAME
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(list(codes))}" for name, codes in sorted(present.items()))
    if os.path.lexists(path):
        raise UsageError(f"{path}: there already, and kept; delete it first to have it proposed anew")
    write_whole(path, f"{{\n{lines}\n}}\n", explained=False)
    return path


def _confirmed(
    folder: Path, present: Mapping[str, tuple[int, ...]], coding: LabelCoding
) -> tuple[frozenset[str], list[str]]:
    """The names of the cases whose annotated classes are stated, and one line for each contradiction."""
    if not (folder / FILE_NAME).exists():
        return frozenset(), []
    try:
        annotations = read_dataset_annotations(folder, coding)
    except DatasetError as error:
        return frozenset(), [str(error)]
    problems: list[str] = []
    for name, codes in present.items():
        with collected(problems):
            problems += contradictions(name, codes, annotated_codes(annotations, name), coding.label_set)
    return frozenset(present), problems


def _present_and_doubts(
    item: tuple[str, ImageAndLabels], coding: LabelCoding | None
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The codes that occur in a case, and the doubts about its CT."""
    voxels = read_pair(*item, coding)
    return voxels.present, voxels.doubts
