"""One dataset out of several that annotate different classes, each in its own numbers.

::

    TARGET/labels.toml      the label set of all
    TARGET/imagesTr labelsTr dataset.json annotated.json patients.json splits.json      as `cases` reads them

A case annotates what its folder's `annotated.json` says, and without that file every class that its `dataset.json`
names. Images are links to the originals, or copies where links are not possible; so are label maps whose numbers are
the codes of the label set already.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from flare_eval.label_maps.annotations import FILE_NAME, Annotations, read_annotations
from flare_infer.errors import DatasetError
from flare_infer.files.label_set_file import (
    DESCRIPTION_FILE,
    LABELS_FILE,
    numbers_of,
    read_label_file,
    read_label_set,
    write_label_set,
)
from flare_infer.files.write_whole import link_or_copy, write_json, write_whole
from flare_infer.formats.volume_io import IMAGE_SUFFIXES, read_volume, write_volume
from flare_infer.label_set import IGNORE_NAME, LabelSet
from flare_infer.labels import IGNORED, NAMES
from train.dataset.cases import annotated_codes, described_codes
from train.dataset.label_coding import LabelCoding, new_description, own_coding, read_coding, to_challenge_codes
from train.dataset.layout import ImageAndLabels, find_pairs
from train.dataset.splits import PATIENTS_FILE, SPLIT_FILE, read_patients, read_validation
from train.problems import collected, raise_if_any, refuse_filled, refuse_inside
from train.workers import try_each

_IMAGES: Final = "imagesTr"
_LABELS: Final = "labelsTr"


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One of the datasets: its cases, what its numbers mean, and what its cases annotate."""

    folder: Path
    pairs: dict[str, ImageAndLabels]
    coding: LabelCoding
    annotated: dict[str, tuple[int, ...]]
    patients: dict[str, str]
    validation: frozenset[str]


def join_datasets(
    folders: Sequence[Path],
    target: Path,
    labels: Path | None = None,
    workers: int = 1,
    progress: Callable[[int], None] = lambda total: None,
) -> dict[str, tuple[int, ...]]:
    """Write the dataset.

    Args:
        folders: the datasets, in nnU-Net's raw layout.
        target: folder to make; it must be empty or not there yet.
        labels: file of the label set of all; None takes the classes of all folders, in their order, without lesions.
        workers: number of processes.
        progress: callback after each case, with the number of all cases.

    Returns:
        the codes that each case annotates, by name.

    Raises:
        UsageError: if the target holds something or lies inside what is read.
        ProblemsError: naming every problem: a class that is none of the label set, a name of two cases, a label map
            that cannot be read.
        DatasetError: if the label set is refused.
    """
    refuse_inside(target, *folders)
    refuse_filled(target)
    label_set = _union(folders) if labels is None else read_label_set(labels)
    problems: list[str] = []
    parts = []
    for folder in folders:
        with collected(problems):
            parts.append(_read_part(folder, label_set))
    owners: dict[str, Path] = {}
    for part in parts:
        for name in part.pairs:
            if name in owners:
                problems.append(f"{name}: a case of that name is in {owners[name]} and in {part.folder}; rename one")
            owners[name] = part.folder
    raise_if_any(problems)
    items = [(name, pair, part.coding) for part in parts for name, pair in part.pairs.items()]
    _, problems = try_each(partial(_place, target=target), items, workers, partial(progress, len(items)))
    raise_if_any(problems)
    if labels is not None and labels.suffix.lower() == ".toml":
        write_whole(target / LABELS_FILE, labels.read_bytes())
    else:
        write_label_set(target / LABELS_FILE, label_set)
    _describe(target, label_set, parts)
    return {name: codes for part in parts for name, codes in part.annotated.items()}


def _union(folders: Sequence[Path]) -> LabelSet:
    """The classes of all folders, in their order; a class that an earlier folder has is the same one."""
    known = LabelSet(names=(NAMES[0], "class"))
    names: list[str] = []
    for folder in folders:
        path = folder / DESCRIPTION_FILE
        try:
            numbers = numbers_of(path, read_label_file(path))
        except FileNotFoundError:
            raise DatasetError(f"{path}: missing; expected nnU-Net's {DESCRIPTION_FILE}") from None
        for name, number in sorted(numbers.items(), key=lambda item: item[1]):
            if number and name.casefold() != IGNORE_NAME and (not names or known.code_of(name) is None):
                names.append(name)
                known = LabelSet(names=(NAMES[0], *names))
    return known


def _read_part(folder: Path, label_set: LabelSet) -> _Part:
    pairs, problems = find_pairs(folder)
    raise_if_any(problems)
    coding = read_coding(folder, label_set=label_set)
    path = folder / FILE_NAME
    if path.exists():
        annotations = read_annotations(path, label_set)
    else:
        annotations = Annotations(source=folder / DESCRIPTION_FILE, cases={}, default=described_codes(coding))
    patients = read_patients(folder, pairs.keys())
    return _Part(
        folder=folder,
        pairs=pairs,
        coding=coding,
        annotated={name: annotated_codes(annotations, name) for name in pairs},
        patients=patients,
        validation=read_validation(folder, patients),
    )


def _place(item: tuple[str, ImageAndLabels, LabelCoding], target: Path) -> None:
    """Link the image of a case, and write its label map in the codes of the label set."""
    name, pair, coding = item
    for folder in (_IMAGES, _LABELS):
        (target / folder).mkdir(parents=True, exist_ok=True)
    ending = next(ending for ending in IMAGE_SUFFIXES if pair.image.name.lower().endswith(ending))
    link_or_copy(pair.image, target / _IMAGES / f"{name}_0000{ending}")
    new = target / _LABELS / f"{name}.nii.gz"
    if not coding.translates and pair.labels.name.lower().endswith(".nii.gz"):
        link_or_copy(pair.labels, new)
        return
    labels = read_volume(pair.labels)
    write_volume(new, replace(labels, array_zyx=to_challenge_codes(labels.array_zyx, coding, f"{name}: labels")))


def _describe(target: Path, label_set: LabelSet, parts: Sequence[_Part]) -> None:
    """Write the files that describe the dataset, `annotated.json` last."""
    annotated = {name: list(codes) for part in parts for name, codes in part.annotated.items()}
    coding = own_coding(label_set)
    if any(code == IGNORED for part in parts for _, code in part.coding.codes):
        coding = replace(coding, codes=(*coding.codes, (IGNORED, IGNORED)))
    write_json(target / DESCRIPTION_FILE, new_description(len(annotated), coding))
    patients: dict[str, list[str]] = {}
    for part in parts:
        for name, patient in part.patients.items():
            patients.setdefault(patient, []).append(name)
    listed = {patient: names for patient, names in patients.items() if patient != f"case {names[0]}"}
    if listed:
        write_json(target / PATIENTS_FILE, listed)
    if validation := sorted(name for part in parts for name in part.validation):
        write_json(target / SPLIT_FILE, {"validation": validation})
    write_json(target / FILE_NAME, annotated)
