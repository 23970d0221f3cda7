"""The dataset that the coarse model learns from: experts' labels, and pseudo labels where there are none.

::

    TARGET/                      nnU-Net's raw layout: dataset.json, unlabeled.json, patients.json, splits.json,
                                 imagesTr, labelsTr, and annotated.json, which is written last
    TARGET/merged/CASE.json      what a case was made from, and what was written

Unchanged files are symbolic links to the originals, or copies where links are not possible. Label maps are in the
codes of the label set, whatever numbers the experts' label maps have.
"""

import dataclasses
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from flare_eval.label_maps.annotations import FILE_NAME
from flare_eval.label_maps.label_map import read_label_map
from flare_infer.errors import DatasetError, UsageError
from flare_infer.files.json_file import read_object
from flare_infer.files.label_set_file import DESCRIPTION_FILE, LABELS_FILE
from flare_infer.files.write_whole import link_or_copy, remove_parts, write_json, write_whole
from flare_infer.formats.volume_io import IMAGE_SUFFIXES, read_volume, write_volume
from flare_infer.label_set import LabelSet
from flare_infer.volume.volume import Volume, how_grids_differ, same_placement
from train.dataset.label_coding import LabelCoding, challenge_description, own_coding, to_challenge_codes
from train.dataset.splits import PATIENTS_FILE, SPLIT_FILE, UNLABELED_FILE
from train.problems import ProblemsError, raise_if_any, refuse_inside
from train.pseudo.fill import fill_organs, pseudo_labels
from train.pseudo.merge_plan import MergedCase, MergeKind, PseudoLabels, plan_merge
from train.workers import try_each

RECORDS: Final = "merged"
_IMAGES: Final = "imagesTr"
_LABELS: Final = "labelsTr"


@dataclass(frozen=True, kw_only=True)
class MergedDataset:
    """A merged dataset.

    Attributes:
        cases: all its cases, in alphabetical order.
    """

    cases: tuple[MergedCase, ...]

    def names(self, kind: MergeKind) -> tuple[str, ...]:
        """Names of the cases of one kind."""
        return tuple(case.name for case in self.cases if case.kind == kind)


def merge_dataset(
    dataset: Path,
    pseudo: PseudoLabels,
    target: Path,
    workers: int = 1,
    progress: Callable[[int], None] = lambda total: None,
) -> MergedDataset:
    """Write the training dataset of the coarse model; existing cases made from the same files are kept.

    Expert cases keep their labels; those that are to be filled also get a model's organs, which the expert did not
    annotate. Selected unlabeled cases get a model's labels. Validation cases never do. Inputs are not modified.

    Args:
        dataset: folder of the experts' dataset.
        pseudo: sources of the pseudo labels.
        target: folder of the merged dataset: empty, not existing yet, or written by this function before.
        workers: number of processes.
        progress: callback after each case, with the number of all cases.

    Raises:
        UsageError: if the target holds anything else or one of the inputs, or lies inside one.
        ProblemsError: naming every problem, see `plan_merge`, and every label map that cannot be read or lies on
            another grid; in the latter case the target lacks annotated.json and is no dataset.
    """
    for source in (dataset, pseudo.organs, pseudo.images, pseudo.labels):
        if source is not None and source.resolve().is_relative_to(target.resolve()):
            raise UsageError(f"{target}: holds {source}, which is read; nothing is written into inputs")
    refuse_inside(target, dataset, pseudo.organs, pseudo.images, pseudo.labels)
    cases, unlabeled = plan_merge(dataset, pseudo)
    _begin(target, cases)
    _, problems = try_each(partial(_merge_into, target=target), cases, workers, partial(progress, len(cases)))
    raise_if_any(problems)
    write_json(target / DESCRIPTION_FILE, _description(dataset, len(cases), _coding_of(cases, pseudo.label_set)))
    for name in (PATIENTS_FILE, SPLIT_FILE, LABELS_FILE):
        (target / name).unlink(missing_ok=True)
        if (dataset / name).is_file():
            write_whole(target / name, (dataset / name).read_bytes())
    write_json(target / UNLABELED_FILE, {"unlabeled": unlabeled})
    write_json(target / FILE_NAME, {case.name: list(case.annotated) for case in cases})
    return MergedDataset(cases=tuple(cases))


def merged_labels(case: MergedCase) -> Volume:
    """The merged label map of a case that uses a model's label map.

    Raises:
        ProblemsError: if a label map cannot be read, the expert's and the model's lie on different grids, or the
            model's is empty.
        UsageError: if the case uses no model's label map.
    """
    if case.predicted is None:
        raise UsageError(f"{case.name}: takes nothing from a model; its labels are {case.expert}")
    label_set = case.coding.label_set
    predicted = read_label_map(case.predicted, label_set)
    if case.expert is None:
        labels_zyx = pseudo_labels(
            predicted.array_zyx, case.known, keep_tumor=case.kind == "keep_tumor", label_set=label_set
        )
        if not labels_zyx.any():
            raise ProblemsError([f"{case.name}: the model's label map is empty; leave the case out: {case.predicted}"])
        return replace(predicted, array_zyx=labels_zyx)
    expert = _expert_labels(case.expert, case.coding)
    if expert.shape != predicted.shape or not same_placement(expert.placement, predicted.placement):
        raise ProblemsError(
            [
                f"{case.name}: {case.predicted} lies on another grid than the expert's labels: "
                f"{how_grids_differ(predicted, expert)}"
            ]
        )
    filled = fill_organs(expert.array_zyx, predicted.array_zyx, case.expert_annotated, case.known, label_set)
    return replace(expert, array_zyx=filled)


def _expert_labels(path: Path, coding: LabelCoding) -> Volume:
    volume = read_volume(path)
    return replace(volume, array_zyx=to_challenge_codes(volume.array_zyx, coding, str(path)))


def _begin(target: Path, cases: Collection[MergedCase]) -> None:
    """Create the folders, which are no dataset until the end; files that belong to none of the cases are deleted."""
    if target.exists() and not (target / RECORDS).is_dir() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target}: expected a folder that is empty, not there yet, or a merged dataset")
    for name in (RECORDS, _IMAGES, _LABELS):
        (target / name).mkdir(parents=True, exist_ok=True)
    (target / FILE_NAME).unlink(missing_ok=True)
    remove_parts(target)
    wanted = {path for case in cases for path in (_record(target, case), *_outputs(target, case))}
    for name in (RECORDS, _IMAGES, _LABELS):
        for path in (target / name).iterdir():
            if path not in wanted and not path.is_dir():
                path.unlink()


def _merge_into(case: MergedCase, target: Path) -> None:
    """Write one case unless it exists already."""
    record, (image, labels) = _record(target, case), _outputs(target, case)
    try:
        key = _key(case)
        if _read_record(record) == {"key": key, "written": _stamps(image, labels)}:
            return
        link_or_copy(case.image, image)
        if case.predicted is None and case.expert is not None and case.coding.translates:
            write_volume(labels, _expert_labels(case.expert, case.coding))
        elif case.predicted is None and case.expert is not None:
            link_or_copy(case.expert, labels)
        else:
            write_volume(labels, merged_labels(case))
        write_json(record, {"key": key, "written": _stamps(image, labels)}, explained=False)
    except OSError as error:
        text = f"{case.name}: {error.filename}: {error.strerror}; fix it, then run the same command again"
        raise DatasetError(text) from error


def _record(target: Path, case: MergedCase) -> Path:
    return target / RECORDS / f"{case.name}.json"


def _outputs(target: Path, case: MergedCase) -> tuple[Path, Path]:
    """Image and label map of a case in the merged dataset."""
    image = target / _IMAGES / f"{case.name}_0000{_ending(case.image)}"
    return image, target / _LABELS / f"{case.name}{_ending(case.expert or case.image)}"


def _ending(path: Path) -> str:
    return next(ending for ending in IMAGE_SUFFIXES if path.name.lower().endswith(ending))


def _key(case: MergedCase) -> dict[str, Any]:
    """Everything that determines a merged case, as JSON would read it back."""
    fields = dataclasses.asdict(case)
    files = {name: _stamp(path) for name, path in fields.items() if isinstance(path, Path)}
    codes = {name: list(value) for name, value in fields.items() if isinstance(value, tuple)}
    coding = {"coding": [list(pair) for pair in case.coding.codes]} if case.coding.translates else {}
    label_set = case.coding.label_set
    classes = {} if label_set.is_challenge else {"classes": list(label_set.names)}
    return {"way": case.kind, **files, **codes, **coding, **classes}


def _stamp(path: Path) -> list[str | int]:
    """Path, size and time of change of a file, with links followed."""
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]


def _stamps(*paths: Path) -> list[list[str | int]] | None:
    try:
        return [_stamp(path) for path in paths]
    except OSError:
        return None


def _read_record(path: Path) -> dict[str, Any]:
    try:
        return read_object(path, DatasetError)
    except (FileNotFoundError, DatasetError):
        return {}


def _coding_of(cases: Sequence[MergedCase], label_set: LabelSet) -> LabelCoding:
    """What the numbers of the experts' label maps mean; of a model's, if there are no experts' cases."""
    return next((case.coding for case in cases if case.expert is not None), own_coding(label_set))


def _description(dataset: Path, count: int, coding: LabelCoding) -> dict[str, Any]:
    """The experts' dataset.json with the new number of cases and the set's labels; a new one if it is missing."""
    try:
        content = read_object(dataset / DESCRIPTION_FILE, DatasetError)
    except FileNotFoundError:
        content = {"channel_names": {"0": "CT"}, "file_ending": ".nii.gz"}
    return {**challenge_description(content, coding), "numTraining": count}
