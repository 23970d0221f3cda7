"""One dataset out of CTs that experts annotated, painted ones, and unlabeled ones with the organs that a model sees.

::

    TARGET/imagesTr labelsTr dataset.json annotated.json patients.json     nnU-Net's raw layout, as `cases` reads it
    TARGET/origins.json     {"painted": {"case": [1, ...]}, "pseudo_labeled": {"case": [1, ...]}}
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from flare_eval.label_maps.annotations import FILE_NAME, read_annotations
from flare_infer.errors import DatasetError
from flare_infer.files.json_file import read_object
from flare_infer.files.label_set_file import DESCRIPTION_FILE
from flare_infer.files.write_whole import link_or_copy, write_json
from flare_infer.formats.volume_io import find_images, read_volume, write_volume
from flare_infer.labels import CODES, ORGANS
from flare_infer.volume.volume import Volume
from train.dataset.label_coding import new_description
from train.dataset.splits import PATIENTS_FILE
from train.problems import refuse_filled, refuse_inside
from train.pseudo.fill import pseudo_labels

ORIGINS_FILE: Final = "origins.json"
_IMAGE, _LABELS = "imagesTr/{}_0000.nii.gz", "labelsTr/{}.nii.gz"


@dataclass(frozen=True, kw_only=True)
class Cases:
    """What is to be known of real CTs.

    Attributes:
        held_out: names of cases that are not learned from; neither are other cases of their patients.
        patients: names of the cases of one patient; every other case is a patient of its own.
        transposed_mm: voxel size in mm of cases whose arrays are stored as (z, y, x) with a header that says (x, y, z).
    """

    held_out: tuple[str, ...] = ()
    patients: dict[str, tuple[str, ...]] = field(default_factory=dict)
    transposed_mm: dict[str, float] = field(default_factory=dict)

    @property
    def avoided(self) -> frozenset[str]:
        """Names of all cases of patients who are held out."""
        held_out = set(self.held_out)
        return frozenset(held_out.union(*(names for names in self.patients.values() if held_out & set(names))))


@dataclass(frozen=True, kw_only=True)
class PseudoLabeled:
    """Unlabeled CTs.

    Attributes:
        images: folder of the CTs, NAME_0000.nii.gz.
        labels: folder of a model's label maps of them, NAME.nii.gz.
    """

    images: Path
    labels: Path


def expert_annotations(experts: Path, cases: Cases) -> dict[str, tuple[int, ...]]:
    """The codes that each CT of a folder annotates, without those that are avoided.

    Raises:
        DatasetError: if `annotated.json` cannot be read, or an image or a label map that it names is missing.
    """
    annotated = read_annotations(experts / FILE_NAME).cases
    for name in annotated:
        for path in _expert_files(experts, name):
            if not path.is_file():
                raise DatasetError(f"{path}: missing; {experts / FILE_NAME} names this case")
    return {name: codes for name, codes in annotated.items() if name not in cases.avoided}


def assemble(
    experts: Path, target: Path, cases: Cases, cohorts: Sequence[Path] = (), unlabeled: PseudoLabeled | None = None
) -> int:
    """Write the dataset. What a case does not annotate is unknown in it; in unlabeled ones, that is tumor.

    Args:
        experts: folder of NAME_0000.nii.gz, NAME_labels.nii.gz and annotated.json.
        target: folder to make; it must be empty or not there yet.
        cases: what is to be known of the real CTs.
        cohorts: painted datasets.
        unlabeled: CTs that get a model's organs; of most tumors a model sees a part, so these are not taken.

    Returns:
        the number of cases.

    Raises:
        UsageError: if the target holds something or lies inside what is read.
        DatasetError, ImageError: if something is missing or cannot be read.
    """
    pseudo_folders = () if unlabeled is None else (unlabeled.images, unlabeled.labels)
    refuse_inside(target, experts, *cohorts, *pseudo_folders)
    refuse_filled(target)
    annotated: dict[str, Sequence[int]] = dict(expert_annotations(experts, cases))
    for file in (_IMAGE, _LABELS):
        (target / file).parent.mkdir(parents=True, exist_ok=True)
    for name in annotated:
        for file, source in zip((_IMAGE, _LABELS), _expert_files(experts, name), strict=True):
            _place(source, target / file.format(name), cases.transposed_mm.get(name))
    pseudo = {} if unlabeled is None else dict.fromkeys(_add_unlabeled(unlabeled, target, cases), ORGANS)
    painted: dict[str, Sequence[int]] = {}
    patients = {patient: list(names) for patient, names in cases.patients.items()}
    for cohort in cohorts:
        more = read_object(cohort / FILE_NAME, DatasetError)
        if twice := more.keys() & {*annotated, *pseudo, *painted}:
            raise DatasetError(f"{cohort}: {', '.join(sorted(twice))}: a case of that name is there already")
        painted |= more
        for patient, names in read_object(cohort / PATIENTS_FILE, DatasetError).items():
            patients.setdefault(patient, []).extend(names)
        for file in (_IMAGE, _LABELS):
            for name in more:
                shutil.copyfile(cohort / file.format(name), target / file.format(name))
    annotated = {**annotated, **pseudo, **painted}
    _describe(target, annotated, patients)
    write_json(target / ORIGINS_FILE, {"painted": painted, "pseudo_labeled": pseudo})
    return len(annotated)


def _expert_files(experts: Path, name: str) -> tuple[Path, Path]:
    return experts / f"{name}_0000.nii.gz", experts / f"{name}_labels.nii.gz"


def _place(source: Path, target: Path, spacing_mm: float | None) -> None:
    """Link a volume; of one that is transposed, write it as it should be."""
    if spacing_mm is None:
        link_or_copy(source, target)
        return
    stored = read_volume(source)
    array_zyx = np.ascontiguousarray(stored.array_zyx.transpose(2, 1, 0))
    placement = replace(stored.placement, spacing_mm=(spacing_mm,) * 3)
    write_volume(target, Volume(array_zyx=array_zyx, placement=placement))


def _add_unlabeled(unlabeled: PseudoLabeled, target: Path, cases: Cases) -> Iterator[str]:
    """Link the CTs of patients who are not held out, and write a model's organs; the names."""
    for name, image in find_images(unlabeled.images).items():
        if name in cases.avoided:
            continue
        link_or_copy(image, (target / _IMAGE).with_name(image.name))
        seen = read_volume(unlabeled.labels / f"{name}.nii.gz")
        organs_zyx = pseudo_labels(seen.array_zyx, CODES, keep_tumor=False)
        write_volume(target / _LABELS.format(name), replace(seen, array_zyx=organs_zyx))
        yield name


def _describe(target: Path, annotated: Mapping[str, Sequence[int]], patients: Mapping[str, Sequence[str]]) -> None:
    present = {patient: [name for name in names if name in annotated] for patient, names in patients.items()}
    write_json(target / DESCRIPTION_FILE, new_description(len(annotated)))
    write_json(target / FILE_NAME, annotated)
    write_json(target / PATIENTS_FILE, {patient: names for patient, names in present.items() if names})
