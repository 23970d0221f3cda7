"""What a dataset seems to annotate, by the values of its label maps."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from flare_infer.annotated import FILE_NAME, read_annotations
from flare_infer.errors import DatasetError, UsageError
from train.data.cases import annotated_codes, description_problems
from train.data.check import contradictions, read_pair
from train.data.layout import Pair, find_pairs
from train.data.problems import ProblemsError
from train.data.workers import for_each

FEW_LACKING: Final = 3
"""A label type that lacks at most so many classes of another may be that other, with organs that are not there."""


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What was found in a dataset.

    Attributes:
        present: codes that occur in the label map of each usable case, in increasing order.
        problems: a line for everything that cannot be used.
    """

    present: Mapping[str, tuple[int, ...]]
    problems: tuple[str, ...]

    @property
    def label_types(self) -> dict[tuple[int, ...], list[str]]:
        """Cases by the set of codes that occur in them (the paper's label types), the most frequent first."""
        return label_types(self.present)


def scan_dataset(folder: Path, workers: int = 1, progress: Callable[[int], None] = lambda total: None) -> Scan:
    """Read every image and label map of a dataset; `annotated.json` is not needed, but checked if it is there.

    Args:
        folder: nnU-Net's raw layout, or the challenge's.
        workers: processes.
        progress: called after each case with the number of all cases.
    """
    pairs, problems = find_pairs(folder)
    if folder.is_dir():
        problems += description_problems(folder)
    results = for_each(_present_or_problems, list(pairs.items()), workers, partial(progress, len(pairs)))
    present = {}
    for name, (codes, lines) in zip(pairs, results, strict=True):
        problems += lines
        if not lines:
            present[name] = codes
    problems += _annotation_problems(folder, present)
    return Scan(present=present, problems=tuple(problems))


def label_types(codes_of: Mapping[str, tuple[int, ...]]) -> dict[tuple[int, ...], list[str]]:
    """Cases by their set of codes, the most frequent set first."""
    types: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for name, codes in sorted(codes_of.items()):
        types[codes].append(name)
    return dict(sorted(types.items(), key=lambda item: (-len(item[1]), item[0])))


def doubtful(types: Mapping[tuple[int, ...], list[str]]) -> dict[tuple[int, ...], tuple[int, ...]]:
    """Label types that lack few classes of another one, each with the classes it lacks.

    Only people can say whether these organs are not there (then the case annotates them) or were not drawn.
    """
    lacking: dict[tuple[int, ...], tuple[int, ...]] = {}
    for codes in types:
        wider = [tuple(sorted(set(other) - set(codes))) for other in types if set(codes) < set(other)]
        close = [missing for missing in wider if len(missing) <= FEW_LACKING]
        if close:
            lacking[codes] = min(close, key=lambda missing: (len(missing), missing))
    return lacking


def write_proposal(folder: Path, present: Mapping[str, tuple[int, ...]]) -> Path:
    """Write `annotated.json` as if every class that does not occur in a case were not annotated in it.

    Raises:
        UsageError: if there is one already: someone may have said more in it than label values can.
    """
    path = folder / FILE_NAME
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(list(codes))}" for name, codes in sorted(present.items()))
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(f"{{\n{lines}\n}}\n")
    except FileExistsError as error:
        raise UsageError(f"{path}: there already, and kept; delete it first to have it proposed anew") from error
    return path


def _annotation_problems(folder: Path, present: Mapping[str, tuple[int, ...]]) -> list[str]:
    if not (folder / FILE_NAME).exists():
        return []
    try:
        annotations = read_annotations(folder / FILE_NAME)
    except DatasetError as error:
        return [str(error)]
    problems: list[str] = []
    for name, codes in present.items():
        try:
            problems += contradictions(name, codes, annotated_codes(annotations, name))
        except DatasetError as error:
            problems.append(str(error))
    return problems


def _present_or_problems(item: tuple[str, Pair]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    try:
        return read_pair(*item).present, ()
    except ProblemsError as error:
        return (), error.problems
