"""A weights directory of ours to a folder that nnU-Net's own predictor loads."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from flare_infer.errors import SpecError, UsageError
from flare_infer.files.write_whole import whole_file, write_json
from flare_infer.model.network import UNet
from flare_infer.model.spec import Interpolation, ModelSpec, Orientation
from flare_infer.model.weights import load_networks
from flare_infer.nnunet.architecture import write_architecture
from flare_infer.nnunet.names import to_nnunet

CONFIGURATION: Final = "3d_fullres"
TRAINER: Final = "nnUNetTrainer"

_NEVER: Final = -1000.0
"""Logit of an untrained class: it never wins, and sums of it in half precision stay finite."""

_READERS: Final[Mapping[Orientation, str]] = {
    "LPS": "SimpleITKIO",
    "as_stored": "SimpleITKIO",
    "RAS": "NibabelIOWithReorient",
}


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What nnU-Net's predictor needs as options, because its folders do not hold it.

    Attributes:
        folder: the folder to name (`nnUNetv2_predict_from_modelfolder -m`).
        folds: the folds to name (`-f`).
        tile_step_size: the window step (`-step_size`).
        use_mirroring: whether it must mirror; otherwise `--disable_tta`.
        turned: whether it must be given scans that are stored in LPS, because it does not turn them as we do.
        differences: what else its labels lack of ours, in words, each with the field of model.json it comes from.
    """

    folder: Path
    folds: tuple[int, ...]
    tile_step_size: float
    use_mirroring: bool
    turned: bool
    differences: tuple[str, ...]

    def how_to_predict(self) -> str:
        """The command that predicts with the folder, and a line for whatever its labels differ in from ours."""
        folds = " ".join(str(fold) for fold in self.folds)
        mirroring = "" if self.use_mirroring else " --disable_tta"
        command = (
            f"nnUNetv2_predict_from_modelfolder -i CTS -o LABELS -m {self.folder} -f {folds} "
            f"-step_size {self.tile_step_size:g}{mirroring}"
        )
        turning = "nnU-Net does not turn scans: give it CTs stored in LPS (identity direction); others it gets wrong"
        return "\n".join((command, *[turning] * self.turned, *self.differences))


def export_nnunet(weights: Path, folder: Path) -> Exported:
    """Write plans.json, dataset.json and the checkpoint of every fold.

    nnU-Net does not turn scans: what a model of orientation LPS is given there must be stored in LPS, that is with the
    identity as its direction. It surrounds scans smaller than the patch with 0 after normalization, not with air.
    Classes that a model never predicts get a logit there that never wins.

    Args:
        weights: a weights directory.
        folder: the new folder.

    Raises:
        SpecError, WeightsError: if the weights cannot be used.
        SpecError: if nnU-Net has no words for the model.
        UsageError: if `folder` holds a model already, or cannot be written.
    """
    spec, networks = load_networks(weights, torch.device("cpu"))
    plans, dataset = _plans(spec), _dataset(spec)
    if (folder / "plans.json").exists():
        raise UsageError(f"{folder}: holds a model of nnU-Net already; choose another folder or remove it")
    try:
        for fold, network in enumerate(networks):
            place = folder / f"fold_{fold}"
            place.mkdir(parents=True, exist_ok=True)
            with whole_file(place / "checkpoint_final.pth", explained=False) as part, part.open("wb") as file:
                torch.save(_checkpoint(spec, network, fold), file)
        for name, content in (("plans.json", plans), ("dataset.json", dataset)):
            write_json(folder / name, content, explained=False)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error
    return Exported(
        folder=folder,
        folds=tuple(range(len(networks))),
        tile_step_size=spec.window_step,
        use_mirroring=bool(spec.mirror_axes),
        turned=spec.orientation == "LPS",
        differences=_differences(spec),
    )


def _differences(spec: ModelSpec) -> tuple[str, ...]:
    """What nnU-Net's predictor does otherwise with the same weights, where the model asks for it."""
    bias = spec.training.get("tumor_bias")
    rules = {
        "body_only: what is found in air beside the body stays": spec.body_only,
        "smallest_part: islands of organs stay": any(spec.smallest_part),
        "tumor_organs: tumors beside none of these organs stay": bool(spec.tumor_organs),
        "tumor_lead: tumors that are uncertain everywhere stay": bool(spec.tumor_lead),
        f"tumor_bias: the weights hold {bias} added to the logit of tumor": bool(bias),
        "repeated_mm: a scan shorter than a window is not continued by its end slices": bool(spec.repeated_mm),
        "padding: a scan smaller than a window is surrounded by 0 after normalization": spec.fill != 0,
        "skipping: windows around which nothing was found run, too": bool(spec.skipping.foreground_voxels),
    }
    return tuple(f"not in nnU-Net's labels: {rule}" for rule, asked in rules.items() if asked)


def _plans(spec: ModelSpec) -> dict[str, Any]:
    normalization = spec.normalization
    image, image_options = _resampling(spec.image_interpolation)
    logits, logits_options = _resampling(spec.logits_interpolation)
    turn_back = sorted(range(3), key=spec.transpose.__getitem__)
    return {
        "dataset_name": f"Dataset001_{_word(spec.name)}",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": _READERS[spec.orientation],
        "transpose_forward": list(spec.transpose),
        "transpose_backward": turn_back,
        "original_median_spacing_after_transp": list(spec.spacing_mm),
        "original_median_shape_after_transp": list(spec.patch),
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            "0": {
                "mean": normalization.mean_hu,
                "median": normalization.mean_hu,
                "std": normalization.std_hu,
                "min": normalization.clip_low_hu,
                "max": normalization.clip_high_hu,
                "percentile_00_5": normalization.clip_low_hu,
                "percentile_99_5": normalization.clip_high_hu,
            }
        },
        "configurations": {
            CONFIGURATION: {
                "data_identifier": f"nnUNetPlans_{CONFIGURATION}",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 2,
                "patch_size": list(spec.patch),
                "median_image_size_in_voxels": list(spec.patch),
                "spacing": list(spec.spacing_mm),
                "normalization_schemes": ["CTNormalization"],
                "use_mask_for_norm": [False],
                "resampling_fn_data": image,
                "resampling_fn_data_kwargs": image_options,
                "resampling_fn_seg": "resample_torch_fornnunet",
                "resampling_fn_seg_kwargs": {"is_seg": True, "force_separate_z": False},
                "resampling_fn_probabilities": logits,
                "resampling_fn_probabilities_kwargs": logits_options,
                "batch_dice": False,
                "architecture": write_architecture(spec.network),
            }
        },
    }


def _resampling(interpolation: Interpolation) -> tuple[str, dict[str, Any]]:
    """nnU-Net's function that interpolates alike, with its options: torch's where it is linear."""
    across = interpolation.order_across
    separate = False if across is None else None
    if interpolation.order == 1 and across in {None, 0}:
        return "resample_torch_fornnunet", {"is_seg": False, "force_separate_z": separate}
    options = {"is_seg": False, "order": interpolation.order, "order_z": across or 0, "force_separate_z": separate}
    return "resample_data_or_seg_to_shape", options


def _dataset(spec: ModelSpec) -> dict[str, Any]:
    names = ("background", *spec.labels[1:])
    if len(set(names)) != len(names) or "ignore" in names:
        raise SpecError(
            f"{spec.name}: nnU-Net needs a name of its own for each label, and none called ignore; found {names}"
        )
    return {
        "name": spec.name,
        "channel_names": {"0": "CT"},
        "labels": {name: code for code, name in enumerate(names)},
        "numTraining": 0,
        "file_ending": ".nii.gz",
    }


def _checkpoint(spec: ModelSpec, network: UNet, fold: int) -> dict[str, Any]:
    parameters = dict(network.state_dict())
    if spec.untrained:
        _silence(parameters, spec.untrained)
    return {
        "network_weights": to_nnunet(parameters, spec.network),
        "optimizer_state": {},
        "grad_scaler_state": None,
        "logging": {},
        "_best_ema": None,
        "current_epoch": 0,
        "init_args": {"configuration": CONFIGURATION, "fold": fold},
        "trainer_name": TRAINER,
        "inference_allowed_mirroring_axes": list(spec.mirror_axes) or None,
    }


def _silence(parameters: dict[str, Tensor], untrained: tuple[int, ...]) -> None:
    """Replace what the heads say of untrained classes by a constant that never wins."""
    for name in [name for name in parameters if name.startswith("heads.")]:
        tensor = parameters[name].clone()
        tensor[list(untrained)] = _NEVER if name.endswith(".bias") else 0.0
        parameters[name] = tensor


def _word(name: str) -> str:
    """A name as nnU-Net's data sets may have one."""
    return "".join(letter if letter.isalnum() else "_" for letter in name)
