"""A painted dataset with the challenge's structure: partial labels, and the complete labels of every case beside them.

::

    dataset.json annotated.json patients.json splits.json
    imagesTr/NAME_0000.nii.gz       labelsTr/NAME.nii.gz       what the case annotates
    imagesUnlabeled/NAME_0000.nii.gz
    truth/NAME.nii.gz               all 13 organs and the tumors of every case, unlabeled ones included
    noise.csv                       false tumors that were written into labelsTr on purpose
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from flare_eval.label_maps.annotations import FILE_NAME
from flare_eval.label_maps.csv_text import csv_text
from flare_infer import labels
from flare_infer.errors import UsageError
from flare_infer.files.label_set_file import DESCRIPTION_FILE
from flare_infer.files.write_whole import write_json, write_whole
from flare_infer.formats.volume_io import write_volume
from flare_infer.volume.volume import Volume
from train.dataset.label_coding import new_description
from train.dataset.splits import PATIENTS_FILE, write_validation
from train.problems import refuse_filled
from train.synth.anatomy import Anatomy, deformed, invent_anatomy, read_anatomy
from train.synth.benign import with_benign_findings
from train.synth.cohort_plan import CohortPlan, label_maps_in
from train.synth.invented_organs import with_missing_organs
from train.synth.label_noise import COLUMNS, FalseTumor, add_false_tumors
from train.synth.paint import PaintedCT, paint
from train.synth.tissue import Codes, Mask, draw_appearance
from train.synth.tumor_shapes import HOSTS, TumorShape, invent_shape, place_tumor, read_shapes

TRUTH_FOLDER: Final = "truth"
UNLABELED_FOLDER: Final = "imagesUnlabeled"
NOISE_FILE: Final = "noise.csv"

_UNLABELED, _VALIDATION = "unlabeled", "validation"
_BODY_ABOVE_HU: Final = -400
_SHAPE_FRACTION_HELD_OUT: Final = 4


@dataclass(frozen=True, kw_only=True)
class _Patient:
    """The organs of a patient, and the tumors that may be placed into them."""

    anatomy: Anatomy
    shapes: tuple[TumorShape, ...]


@dataclass(frozen=True, kw_only=True)
class _PlannedCase:
    """A case to paint."""

    name: str
    patient: _Patient
    annotated: tuple[int, ...] = ()
    validation: bool = False


def write_cohort(
    folder: Path, plan: CohortPlan, maps: Path | None = None, progress: Callable[[], None] = lambda: None
) -> None:
    """Paint a cohort; equal plans and maps give equal voxels.

    Args:
        folder: folder of the dataset; it must be empty or not exist yet.
        plan: the cases of the cohort.
        maps: folder of real label maps, with a folder for each kind of anatomies and tumors that the plan names. None
            invents all of them.
        progress: callback after each case.

    Raises:
        UsageError: if the folder is not empty, or there are too few maps.
        DatasetError, ImageError: if a map cannot be used.
    """
    refuse_filled(folder)
    training, held_out = _invented(plan) if maps is None else _from_maps(plan, maps)
    items = list(_planned_cases(plan, training, held_out))
    for name in ("imagesTr", "labelsTr", UNLABELED_FOLDER, TRUTH_FOLDER):
        (folder / name).mkdir(parents=True, exist_ok=True)
    noise: list[tuple[str, ...]] = []
    for item in items:
        noise += [_row(item.name, tumor) for tumor in _write_case(folder, item, plan)]
        progress()
    _write_description(folder, items)
    write_whole(folder / NOISE_FILE, csv_text(COLUMNS, noise))


def _planned_cases(plan: CohortPlan, training: list[_Patient], held_out: list[_Patient]) -> Iterator[_PlannedCase]:
    """The cases in order; patients alternate, so that every group has different ones."""
    turn = 0
    for group in plan.groups:
        for index in range(group.cases):
            patient = training[turn % len(training)]
            yield _PlannedCase(name=f"{group.name}_{index:03d}", patient=patient, annotated=group.annotated)
            turn += 1
    for index in range(plan.unlabeled):
        yield _PlannedCase(name=f"{_UNLABELED}_{index:03d}", patient=training[(turn + index) % len(training)])
    for index, patient in enumerate(held_out):
        name = f"{_VALIDATION}_{index:03d}"
        yield _PlannedCase(name=name, patient=patient, annotated=labels.CODES, validation=True)


def _write_case(folder: Path, item: _PlannedCase, plan: CohortPlan) -> list[FalseTumor]:
    """Paint a case and write its files; returns the false tumors among its labels."""
    rng = np.random.default_rng((plan.seed, zlib.crc32(item.name.encode())))
    painted = _paint(item, plan, rng)
    images = folder / ("imagesTr" if item.annotated else UNLABELED_FOLDER)
    write_volume(images / f"{item.name}_0000.nii.gz", _volume(painted, painted.image_zyx))
    write_volume(folder / TRUTH_FOLDER / f"{item.name}.nii.gz", _volume(painted, painted.truth_zyx))
    if not item.annotated:
        return []
    drawn = withhold_labels(painted, item.annotated)
    false: list[FalseTumor] = []
    if labels.TUMOR in item.annotated and not item.validation and rng.random() < plan.noisy:
        body = painted.image_zyx > _BODY_ABOVE_HU
        drawn, false = add_false_tumors(drawn, painted.truth_zyx, body, plan.spacing_mm, rng)
    write_volume(folder / "labelsTr" / f"{item.name}.nii.gz", _volume(painted, drawn))
    return false


def withhold_labels(painted: PaintedCT, annotated: tuple[int, ...]) -> Codes:
    """The labels of a case that annotates only some classes.

    If tumor is not among them, a tumor has the label of its organ. A class that the body lacks is annotated and absent.

    Args:
        painted: the painted CT.
        annotated: codes that the case annotates.

    Returns:
        codes (z, y, x), uint8.
    """
    source = painted.truth_zyx if labels.TUMOR in annotated else painted.organs_zyx
    return np.where(np.isin(source, annotated), source, np.uint8(labels.BACKGROUND))


def _paint(item: _PlannedCase, plan: CohortPlan, rng: np.random.Generator) -> PaintedCT:
    anatomy, filling = with_missing_organs(deformed(item.patient.anatomy, rng)), None
    if plan.benign:
        anatomy, filling = with_benign_findings(anatomy, rng)
    tumors = np.zeros(anatomy.shape, dtype=np.bool_)
    if _has_tumors(item, plan, rng):
        # Datasets that annotate an organ with its tumors consist of patients with tumors in that organ.
        hosts = tuple(code for code in HOSTS if code in item.annotated) or HOSTS
        for _ in range(int(rng.integers(1, plan.most_tumors, endpoint=True))):
            tumors |= _tumor(anatomy, item.patient.shapes, hosts, rng)
    return paint(anatomy, tumors, draw_appearance(rng, plan.phases), rng, filling)


def _has_tumors(item: _PlannedCase, plan: CohortPlan, rng: np.random.Generator) -> bool:
    if labels.TUMOR in item.annotated:
        return not plan.tumor_free or rng.random() >= plan.tumor_free
    return rng.random() < plan.hidden_tumors


def _tumor(
    anatomy: Anatomy, shapes: tuple[TumorShape, ...], hosts: tuple[int, ...], rng: np.random.Generator
) -> Mask:  # fmt: skip
    fitting = [shape for shape in shapes if set(shape.hosts) & set(hosts)]
    shape = fitting[rng.integers(len(fitting))] if fitting else invent_shape(rng)
    return place_tumor(anatomy, shape, rng, hosts)


def _invented(plan: CohortPlan) -> tuple[list[_Patient], list[_Patient]]:
    patients = []
    for index in range(plan.patients + plan.validation):
        rng = np.random.default_rng((plan.seed, index))
        anatomy = invent_anatomy(f"invented_{index:03d}", rng, plan.spacing_mm, plan.torso)
        patients.append(_Patient(anatomy=anatomy, shapes=tuple(invent_shape(rng) for _ in range(3))))
    return patients[: plan.patients], patients[plan.patients :]


def _from_maps(plan: CohortPlan, maps: Path) -> tuple[list[_Patient], list[_Patient]]:
    """Patients from real maps, one for each map; those that validate are drawn and get tumors of other maps."""
    files = label_maps_in(maps / plan.anatomies)
    if len(files) < plan.validation + 1:
        raise UsageError(
            f"{maps / plan.anatomies}: {len(files)} label maps; expected more than the {plan.validation} that validate"
        )
    rng = np.random.default_rng((plan.seed, 0))
    order = [files[index] for index in rng.permutation(len(files))]
    held_out, training = order[: plan.validation], order[plan.validation :]
    shapes_held_out, shapes_training = _shapes(plan, maps, rng)

    def patients(paths: list[Path], shapes: tuple[TumorShape, ...]) -> list[_Patient]:
        anatomies = [read_anatomy(path, plan.spacing_mm, plan.torso) for path in sorted(paths)]
        return [_Patient(anatomy=anatomy, shapes=shapes) for anatomy in anatomies]

    return patients(training, shapes_training), patients(held_out, shapes_held_out)


def _shapes(
    plan: CohortPlan, maps: Path, rng: np.random.Generator
) -> tuple[tuple[TumorShape, ...], tuple[TumorShape, ...]]:
    """Tumors for validation, from a quarter of the maps, and tumors for training."""
    held_out: list[TumorShape] = []
    training: list[TumorShape] = []
    for kind in plan.tumors:
        files = label_maps_in(maps / kind.folder)
        if not files:
            raise UsageError(f"{maps / kind.folder}: no label map with tumors; expected files ending in .nii.gz")
        chosen = [files[index] for index in rng.permutation(len(files))[: plan.shapes]]
        for index, path in enumerate(chosen):
            side = training if index % _SHAPE_FRACTION_HELD_OUT else held_out
            side += read_shapes(path, kind.code, kind.hosts, plan.smallest_tumor_ml)
    return tuple(held_out), tuple(training)


def _write_description(folder: Path, items: list[_PlannedCase]) -> None:
    labeled = {item.name: list(item.annotated) for item in items if item.annotated}
    patients: dict[str, list[str]] = {}
    for item in items:
        patients.setdefault(item.patient.anatomy.patient, []).append(item.name)
    write_json(folder / DESCRIPTION_FILE, new_description(len(labeled)))
    write_json(folder / PATIENTS_FILE, patients)
    write_json(folder / FILE_NAME, labeled)
    write_validation(folder, [item.name for item in items if item.validation])


def _volume(painted: PaintedCT, array_zyx: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Volume:
    return Volume(array_zyx=array_zyx, placement=painted.placement)


def _row(case: str, tumor: FalseTumor) -> tuple[str, ...]:
    return (case, tumor.kind, str(tumor.voxels), *(str(index) for index in tumor.middle))
