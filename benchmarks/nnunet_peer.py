"""What nnU-Net itself makes and says: run by its own Python, which knows nothing of this project.

Usage (by `same_as_nnunet.py`): PEER_PYTHON benchmarks/nnunet_peer.py make FOLDER [large]
                                PEER_PYTHON benchmarks/nnunet_peer.py logits MODEL_FOLDER IN.npz OUT.npz FOLD...
                                PEER_PYTHON benchmarks/nnunet_peer.py resample IN.npz OUT.npz
(by `versus_nnunet.py`)         PEER_PYTHON benchmarks/nnunet_peer.py segment MODEL_FOLDER CT OUTPUTS STEP SUMS

`make` writes small models with random weights as nnU-Net's trainer saves them, one in each of FOLDER/*; with
`large` also two of the size of real ones.
`logits` loads a model with nnU-Net's predictor and writes what it says of `batch`, mirrored and averaged over folds.
`resample` applies nnU-Net's default resampling to every case of IN.
`segment` segments one CT as `nnUNetv2_predict` does, in one process, without mirroring, and prints its stages; SUMS is
half, as it is, or float32.
"""

import copy
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

CONFIGURATION = "3d_fullres"
HU = {"mean": 87.5, "median": 92.0, "std": 131.25, "min": -1023.0, "max": 2987.0}
HU |= {"percentile_00_5": -968.0, "percentile_99_5": 312.0}
SPLINE = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}


def plans(name: str, configuration: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A plan around one configuration."""
    common = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "median_image_size_in_voxels": [16.0, 32.0, 32.0],
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": SPLINE,
        "resampling_fn_seg_kwargs": SPLINE | {"is_seg": True, "order": 1},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": SPLINE | {"order": 1},
        "batch_dice": True,
    }
    return {
        "dataset_name": name,
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [2.5, 0.8, 0.8],
        "original_median_shape_after_transp": [16, 32, 32],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": HU},
        "configurations": {CONFIGURATION: common | configuration},
    } | changes


def architecture(class_name: str, **numbers: Any) -> dict[str, Any]:
    """The part of a new-style plan that describes the network."""
    common = {
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{class_name}",
        "arch_kwargs": common | numbers,
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def models() -> dict[str, tuple[dict[str, Any], dict[str, Any], bool, tuple[int | str, ...]]]:
    """Plan, labels, whether to mirror, and folds of each model, by name of its data set."""
    thin, cube, flat, half = [1, 3, 3], [3, 3, 3], [1, 2, 2], [2, 2, 2]
    old_style = {
        "patch_size": [4, 16, 16],
        "spacing": [5.0, 0.9, 0.8],
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 3,
        "n_conv_per_stage_encoder": [2, 1, 2],
        "n_conv_per_stage_decoder": [1, 2],
        "num_pool_per_axis": [1, 2, 2],
        "pool_op_kernel_sizes": [[1, 1, 1], flat, half],
        "conv_kernel_sizes": [thin, thin, cube],
        "unet_max_num_features": 7,
    }
    plain = {
        "patch_size": [8, 16, 8],
        "spacing": [0.9, 2.0, 0.9],
        "architecture": architecture(
            "PlainConvUNet",
            n_stages=3,
            features_per_stage=[3, 5, 5],
            kernel_sizes=[cube, [3, 1, 3], cube],
            strides=[[1, 1, 1], [2, 2, 1], [1, 2, 2]],
            n_conv_per_stage=[1, 2, 1],
            n_conv_per_stage_decoder=[2, 1],
            conv_bias=False,
            norm_op_kwargs={"affine": False},
        ),
    }
    residual = {
        "patch_size": [4, 16, 16],
        "spacing": [3.0, 1.5, 1.5],
        "resampling_fn_data": "resample_torch_fornnunet",
        "resampling_fn_data_kwargs": {"is_seg": False, "force_separate_z": False},
        "resampling_fn_probabilities": "resample_torch_fornnunet",
        "resampling_fn_probabilities_kwargs": {"is_seg": False, "force_separate_z": None},
        "architecture": architecture(
            "ResidualEncoderUNet",
            n_stages=4,
            features_per_stage=[3, 5, 6, 6],
            kernel_sizes=[thin, cube, cube, cube],
            strides=[[1, 1, 1], flat, half, flat],
            n_blocks_per_stage=[1, 2, 2, 1],
            n_conv_per_stage_decoder=[1, 2, 1],
        ),
    }
    inherited = plans("Dataset902_Plain", plain, image_reader_writer="NibabelIOWithReorient")
    inherited |= {"transpose_forward": [1, 0, 2], "transpose_backward": [1, 0, 2]}
    every = inherited["configurations"].pop(CONFIGURATION)
    inherited["configurations"] = {"base": every | {"patch_size": [99, 99, 99]}}
    inherited["configurations"][CONFIGURATION] = {"inherits_from": "base", "patch_size": plain["patch_size"]}
    organs = {"background": 0, "spleen": 1, "left lung": 2}
    return {
        "Dataset901_Old": (plans("Dataset901_Old", old_style), organs | {"ignore": 3}, True, (0, 1)),
        "Dataset902_Plain": (inherited, organs, False, ("all",)),
        "Dataset903_Residual": (plans("Dataset903_Residual", residual), organs, True, (0,)),
    }


def large_models() -> dict[str, tuple[dict[str, Any], dict[str, Any], bool, tuple[int | str, ...]]]:
    """As `models`: the paper's coarse network, and nnU-Net's residual encoder of medium size."""
    cube, half = [3, 3, 3], [2, 2, 2]
    common = {
        "n_stages": 6,
        "features_per_stage": [32, 64, 128, 256, 320, 320],
        "kernel_sizes": [cube] * 6,
        "strides": [[1, 1, 1], half, half, half, half, [1, 2, 2]],
    }
    plain = architecture("PlainConvUNet", **common, n_conv_per_stage=[2] * 6, n_conv_per_stage_decoder=[2] * 5)
    blocks = [1, 3, 4, 6, 6, 6]
    residual = architecture(
        "ResidualEncoderUNet", **common, n_blocks_per_stage=blocks, n_conv_per_stage_decoder=[1] * 5
    )
    result = {}
    for name, network in (("Dataset911_Coarse", plain), ("Dataset912_ResEncM", residual)):
        configuration = {"patch_size": [32, 64, 64], "spacing": [4.0, 1.2, 1.2], "architecture": network}
        labels = {"background": 0} | {f"organ {code}": code for code in range(1, 15)}
        result[name] = (plans(name, configuration), labels, False, (0,))
    return result


def make(folder: Path, large: bool) -> None:
    """Save every model by nnU-Net's trainer, with what its predictor says of a random patch (truth.npz)."""
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("raw", "preprocessed", "results"):
            os.environ[f"nnUNet_{name}"] = str(Path(scratch) / name)
        import torch

        for dataset, (plan, labels, mirrored, folds) in (models() | (large_models() if large else {})).items():
            content = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 5, "file_ending": ".nii.gz"}
            place = folder / dataset / f"nnUNetTrainer__nnUNetPlans__{CONFIGURATION}"
            for fold in folds:
                torch.manual_seed(len(str(fold)) + sum(map(ord, dataset + str(fold))))
                (place / f"fold_{fold}").mkdir(parents=True)
                save(plan, content, mirrored, fold, place / f"fold_{fold}" / "checkpoint_final.pth")
            (place / "plans.json").write_text(json.dumps(plan, indent=1) + "\n")
            (place / "dataset.json").write_text(json.dumps(content, indent=1) + "\n")
            patch = plan["configurations"][CONFIGURATION]["patch_size"]
            batch = np.random.default_rng(0).normal(size=(1, 1, *patch)).astype(np.float32)
            np.savez_compressed(folder / dataset / "truth.npz", batch=batch, logits=predicted(place, batch, folds))


def save(plan: dict[str, Any], content: dict[str, Any], mirrored: bool, fold: int | str, path: Path) -> None:
    """A checkpoint as nnU-Net writes it after a step on noise, with a training log of numpy's numbers."""
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    arguments = copy.deepcopy(plan) | {"continue_training": False}
    made = nnUNetTrainer(arguments, CONFIGURATION, fold, content, torch.device("cpu"))
    made.num_input_channels = 1
    made.network = made.build_network_architecture(
        made.plans_manager, made.configuration_manager, 1, made.label_manager.num_segmentation_heads, True
    )
    made.optimizer, made.lr_scheduler = made.configure_optimizers()
    if mirrored:
        made.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    with torch.no_grad():
        for parameter in made.network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))  # so that no bias is 0 and no norm is 1
    patch = made.configuration_manager.patch_size
    sum(stage.square().mean() for stage in made.network(torch.randn(2, 1, *patch))).backward()
    made.optimizer.step()
    for name, value in (("train_losses", np.float32(0.5)), ("mean_fg_dice", np.float64(0.25)), ("lrs", 0.01)):
        made.logger.log(name, value, 0)
    made.save_checkpoint(str(path))


def predictor(folder: Path, folds: tuple[int | str, ...]) -> Any:
    """nnU-Net's predictor with a model loaded."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    made = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False)
    made.initialize_from_trained_model_folder(str(folder), folds, "checkpoint_final.pth")
    return made


def predicted(folder: Path, batch: np.ndarray, folds: tuple[int | str, ...]) -> np.ndarray:
    """Logits of nnU-Net's predictor for a batch, mirrored as it would, the mean over folds."""
    import torch

    made = predictor(folder, folds)
    made.network.eval()
    total = 0
    for parameters in made.list_of_parameters:
        made.network.load_state_dict(parameters)
        total = total + made._internal_maybe_mirror_and_predict(torch.from_numpy(batch)).numpy()
    return total / len(made.list_of_parameters)


def resample(source: Path, target: Path) -> None:
    """Every case `image_N` (z, y, x) with `shape_N`, `old_N`, `new_N` and `order_N` through nnU-Net's default."""
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape

    results = {}
    with np.load(source) as cases:
        for name in [name for name in cases.files if name.startswith("image_")]:
            index = name.removeprefix("image_")
            shape, old, new = (cases[f"{part}_{index}"].tolist() for part in ("shape", "old", "new"))
            results[f"result_{index}"] = resample_data_or_seg_to_shape(
                cases[name][None], shape, old, new, order=int(cases[f"order_{index}"]), force_separate_z=None
            )[0]
    np.savez(target, **results)


def segment(folder: Path, ct: Path, outputs: Path, step: float, sums: str) -> None:
    """Segment a CT with fold 0; the stages are timed by wrapping the functions that nnU-Net calls.

    With `sums` float32 the type in which it adds logits is exchanged, which is `torch.half` there.
    """
    import torch

    if sums == "float32":
        torch.half = torch.float32
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.utilities.label_handling.label_handling import LabelManager
    from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager

    seconds: dict[str, float] = {}
    calls: dict[str, int] = {}

    def timed(stage: str, function: Any) -> Any:
        def run(*positional: Any, **named: Any) -> Any:
            started = time.perf_counter()
            result = function(*positional, **named)
            seconds[stage] = seconds.get(stage, 0) + time.perf_counter() - started
            calls[stage] = calls.get(stage, 0) + 1
            return result

        return run

    def timed_property(stage: str, name: str) -> property:
        original = getattr(ConfigurationManager, name)
        return property(lambda manager: timed(stage, original.fget(manager)))

    SimpleITKIO.read_images = timed("read", SimpleITKIO.read_images)
    SimpleITKIO.write_seg = timed("write", SimpleITKIO.write_seg)
    DefaultPreprocessor.run_case_npy = timed("prepare", DefaultPreprocessor.run_case_npy)
    ConfigurationManager.resampling_fn_data = timed_property("resample image", "resampling_fn_data")
    ConfigurationManager.resampling_fn_probabilities = timed_property("resample logits", "resampling_fn_probabilities")
    LabelManager.convert_logits_to_segmentation = timed("argmax", LabelManager.convert_logits_to_segmentation)
    nnUNetPredictor.predict_sliding_window_return_logits = timed(
        "windows", nnUNetPredictor.predict_sliding_window_return_logits
    )
    made = nnUNetPredictor(
        tile_step_size=step,
        use_mirroring=False,
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    made.initialize_from_trained_model_folder(str(folder), (0,), "checkpoint_final.pth")
    made.network.forward = timed("network", made.network.forward)
    outputs.mkdir(exist_ok=True)
    name = ct.name.removesuffix("_0000.nii.gz")
    made.predict_from_files_sequential([[str(ct)]], [str(outputs / name)])
    stages = {
        "read": seconds["read"],
        "crop, normalize": seconds["prepare"] - seconds["resample image"],
        "resample image": seconds["resample image"],
        "network": seconds["network"],
        "blend": seconds["windows"] - seconds["network"],
        "resample logits": seconds["resample logits"],
        "argmax": seconds["argmax"],
        "write": seconds["write"],
    }
    print(json.dumps({"stages": stages, "windows": calls["network"]}))


def main(arguments: list[str]) -> None:
    """Do what the first argument names."""
    if arguments[0] == "make":
        make(Path(arguments[1]), "large" in arguments[2:])
    elif arguments[0] == "logits":
        folds = tuple(int(fold) if fold.isdigit() else fold for fold in arguments[4:])
        with np.load(arguments[2]) as given:
            logits = predicted(Path(arguments[1]), given["batch"], folds)
        np.savez(arguments[3], logits=logits)
    elif arguments[0] == "segment":
        segment(Path(arguments[1]), Path(arguments[2]), Path(arguments[3]), float(arguments[4]), arguments[5])
    else:
        resample(Path(arguments[1]), Path(arguments[2]))


if __name__ == "__main__":
    main(sys.argv[1:])
