"""A model trained by nnU-Net to a weights directory of ours."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from flare_infer.errors import FlareError, SpecError, UsageError, WeightsError
from flare_infer.files.json_file import read_object
from flare_infer.model.model_file import SPEC_FILE
from flare_infer.model.spec import ModelSpec, Orientation
from flare_infer.model.weights import live_network, save_model
from flare_infer.nnunet.checkpoint import NnunetCheckpoint, read_checkpoint
from flare_infer.nnunet.names import from_nnunet
from flare_infer.nnunet.plans import Source, read_plan

PLANS_FILE: Final = "plans.json"
DATASET_FILE: Final = "dataset.json"
FINISHED: Final = ("checkpoint_final.pth", "checkpoint_best.pth")
LATEST: Final = "checkpoint_latest.pth"
"""All that there is of a training that was interrupted before its first validation counted, or goes on."""

CHECKPOINTS: Final = (*FINISHED, LATEST)
"""File names of weights, best first."""

_FOLD: Final = re.compile(r"all|\d{1,4}")


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What may be chosen on import.

    Attributes:
        configuration: such as "3d_fullres"; None if the folder leaves no choice.
        folds: those to average, such as ("0", "1") or ("all",); empty takes one, the first there is.
        mirroring: whether to keep the mirroring that the trainer allows; it costs up to eight times the work.
        window_step: distance between windows as a fraction of the patch.
        orientation: how scans are turned first; None is what the plan's reader does. Where those who trained the model
            turned their scans beforehand, only they know how.
        precision: type of the stored numbers; float32 loses nothing.
    """

    configuration: str | None = None
    folds: tuple[str, ...] = ()
    mirroring: bool = True
    window_step: float = 0.5
    orientation: Orientation | None = None
    precision: torch.dtype = torch.float32


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What an import made.

    Attributes:
        spec: the new model.
        checkpoint: the file name of its weights at the source.
        folds: the folds taken.
        left: folds that are there, too, and were not taken.
    """

    spec: ModelSpec
    checkpoint: str
    folds: tuple[str, ...]
    left: tuple[str, ...]


def import_nnunet(results: Path, target: Path, options: ImportOptions | None = None) -> Imported:
    """Write a weights directory that gives the labels of a model trained by nnU-Net.

    Args:
        results: a folder of one trained model (`TRAINER__PLANS__CONFIGURATION`), or the folder of a data set that
            holds such folders.
        target: the new directory; its name becomes the model's.
        options: configuration, folds and orientation to take.

    Raises:
        UsageError: if the folder is no results folder, leaves a choice open, or `target` holds a model already.
        SpecError: if the model is of a kind that is not supported; the text names what was found.
        WeightsError: if a checkpoint is missing, unsafe, or does not fit the plan.
    """
    options = options or ImportOptions()
    if (target / SPEC_FILE).exists():
        raise UsageError(f"{target}: holds a model already; choose another folder or remove it")
    folder = _model_folder(results, options.configuration)
    there = _folds(folder)
    folds = _chosen(folder, options.folds or (_folds(folder, FINISHED) or there)[:1], there)
    name = _checkpoint_name(folder, folds)
    paths = [folder / f"fold_{fold}" / name for fold in folds]
    checkpoint = read_checkpoint(paths[0])
    source = Source(
        plans=_read_json(folder / PLANS_FILE),
        dataset=_read_json(folder / DATASET_FILE),
        configuration=_configuration(folder, checkpoint, options.configuration),
        folds=folds,
        trainer=checkpoint.trainer,
        checkpoint=name,
        mirror_axes=checkpoint.mirror_axes if options.mirroring else (),
    )
    try:
        spec, architecture = read_plan(source, target.resolve().name, options.window_step)
        spec = replace(spec, orientation=options.orientation or spec.orientation)
    except SpecError as error:
        raise SpecError(f"{folder}: {error}") from error
    networks = []
    for path in paths:
        checkpoint = checkpoint if path == paths[0] else read_checkpoint(path)
        _check_same(path, checkpoint, source)
        try:
            bias, affine = architecture.convolution_bias, architecture.norm_affine
            parameters = from_nnunet(checkpoint.weights, spec.network, convolution_bias=bias, norm_affine=affine)
            networks.append(live_network(spec, parameters))
        except FlareError as error:
            raise WeightsError(f"{path}: {error}") from error
    save_model(target, spec, *networks, precision=options.precision)
    left = tuple(fold for fold in there if fold not in folds)
    return Imported(spec=spec, checkpoint=name, folds=folds, left=left)


def _model_folder(results: Path, configuration: str | None) -> Path:
    """The folder of one trained model: `results` itself, or the only one in it that fits."""
    if (results / PLANS_FILE).is_file():
        return results
    if not results.is_dir():
        raise UsageError(f"{results}: expected a results folder of nnU-Net, found no folder")
    models = [path.parent for path in sorted(results.glob(f"*/{PLANS_FILE}"))]
    if not models:
        raise UsageError(
            f"{results}: no {PLANS_FILE} here or one folder below; name the folder TRAINER__PLANS__CONFIGURATION"
        )
    fitting = [folder for folder in models if configuration in {None, folder.name.rpartition("__")[2]}]
    if len(fitting) != 1:
        names = ", ".join(folder.name for folder in fitting or models)
        wanted = "one model" if configuration is None else f"one model of configuration {configuration}"
        raise UsageError(f"{results}: expected {wanted}, found {names}; name one of these folders")
    return fitting[0]


def _folds(folder: Path, checkpoints: Sequence[str] = CHECKPOINTS) -> tuple[str, ...]:
    """Names of the folds with weights of some file names: by number, then `all`."""
    names = {
        path.parent.name.removeprefix("fold_")
        for checkpoint in checkpoints
        for path in folder.glob(f"fold_*/{checkpoint}")
    }
    known = [name for name in names if _FOLD.fullmatch(name)]
    return tuple(sorted(known, key=lambda name: (name == "all", len(name), name)))


def _chosen(folder: Path, wanted: Sequence[str], there: Sequence[str]) -> tuple[str, ...]:
    if not there:
        raise UsageError(f"{folder}: no fold with weights here; expected fold_0/{CHECKPOINTS[0]} or the like")
    chosen = tuple(dict.fromkeys(wanted))
    if missing := [fold for fold in chosen if fold not in there]:
        raise UsageError(f"{folder}: no weights of fold {', '.join(missing)}; there are {', '.join(there)}")
    return chosen


def _checkpoint_name(folder: Path, folds: Sequence[str]) -> str:
    """The best file name that every fold has, so that no fold is averaged at another stage of its training."""
    for name in CHECKPOINTS:
        if all((folder / f"fold_{fold}" / name).is_file() for fold in folds):
            return name
    raise WeightsError(
        f"{folder}: folds {', '.join(folds)} have neither all {' nor all '.join(CHECKPOINTS)}; name other folds"
    )


def _configuration(folder: Path, checkpoint: NnunetCheckpoint, wanted: str | None) -> str:
    """The trained configuration: what the checkpoint says, else what was asked for, else what the folder is called."""
    found = checkpoint.configuration or wanted or folder.resolve().name.rpartition("__")[2]
    if wanted is not None and wanted != found:
        raise UsageError(f"{folder}: is a model of configuration {found}, not of {wanted}")
    return found


def _check_same(path: Path, checkpoint: NnunetCheckpoint, source: Source) -> None:
    """Folds are averaged only if they are of one kind."""
    if (checkpoint.trainer, checkpoint.configuration or source.configuration) != (source.trainer, source.configuration):
        raise WeightsError(
            f"{path}: trained by {checkpoint.trainer} as {checkpoint.configuration}, the first fold by "
            f"{source.trainer} as {source.configuration}; only folds of one training can be averaged"
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return read_object(path, UsageError)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: missing; a results folder of nnU-Net has it beside its folds") from error
