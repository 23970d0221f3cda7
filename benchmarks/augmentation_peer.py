"""batchgeneratorsv2's transforms as nnU-Net's trainer chains them: run by its own Python.

Usage (by `augmentation.py`): PEER_PYTHON benchmarks/augmentation_peer.py CASES.npz SAMPLES

CASES holds `image_NAME` (float16) and `labels_NAME` (z, y, x) of each case and `centers`, rows of case, z, y, x.
Prints, as JSON, processor milliseconds a sample of the whole chain, once as the trainer has it and once with labels of
the nearest voxel, and of every transform alone.
"""

import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

PATCH, CLASSES, MIRROR_AXES, REPEATS = (32, 192, 192), 14, (0, 1), 9
ROTATION = (-np.pi / 6, np.pi / 6)


def milliseconds(work: Callable[[], Any]) -> float:
    """Processor time of a call, the median of several."""
    work()
    found = []
    for _ in range(REPEATS):
        started = time.process_time()
        work()
        found.append((time.process_time() - started) * 1e3)
    return statistics.median(found)


def chain() -> Any:
    """The trainer's transforms, turned about all axes by up to 30 degrees."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    return nnUNetTrainer.get_training_transforms(
        PATCH,
        ROTATION,
        None,
        MIRROR_AXES,
        False,
        use_mask_for_norm=[False],
        foreground_labels=list(range(1, CLASSES + 1)),
    )


def pieces(path: str) -> list[dict[str, torch.Tensor]]:
    """For each center the larger piece that the trainer's data loader cuts before it transforms."""
    from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd
    from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size

    read = get_patch_size(PATCH, ROTATION, ROTATION, ROTATION, (0.85, 1.25))
    found = []
    with np.load(path) as stored:
        names = sorted(key.removeprefix("image_") for key in stored.files if key.startswith("image_"))
        arrays = {name: (stored[f"image_{name}"], stored[f"labels_{name}"]) for name in names}
        for which, *center in stored["centers"].tolist():
            box = [[int(c) - r // 2, int(c) - r // 2 + int(r)] for c, r in zip(center, read, strict=True)]
            image, labels = arrays[names[int(which)]]
            found.append(
                {
                    "image": torch.from_numpy(crop_and_pad_nd(image[None].astype(np.float32), [[0, 1], *box], 0)),
                    "segmentation": torch.from_numpy(
                        crop_and_pad_nd(labels[None].astype(np.int16), [[0, 1], *box], -1)
                    ),
                }
            )
    return found


def whole(found: list[dict[str, torch.Tensor]], samples: int, mode_seg: str) -> float:
    """Processor milliseconds a sample of the chain."""
    transforms = chain()
    transforms.transforms[0].mode_seg = mode_seg
    spent = 0.0
    for number in range(samples):
        # The transforms change what they are given.
        piece = {name: array.clone() for name, array in found[number % len(found)].items()}
        started = time.process_time()
        transforms(**piece)
        spent += time.process_time() - started
    return spent / samples * 1e3


def alone(piece: dict[str, torch.Tensor]) -> dict[str, float]:
    """Processor milliseconds of each transform, always applied."""
    spatial, noise, blur, brightness, contrast, coarse, _, gamma, mirror, *_ = chain().transforms
    blur.transform.p_per_channel = coarse.transform.p_per_channel = 1
    spatial.p_rotation = spatial.p_scaling = 0
    patch = spatial(**piece)
    found = {"plain": milliseconds(lambda: spatial(**piece))}
    spatial.p_rotation = spatial.p_scaling = 1
    found["rotation and scaling"] = milliseconds(lambda: spatial(**piece))
    spatial.mode_seg = "nearest"
    found["rotation and scaling, labels of the nearest voxel"] = milliseconds(lambda: spatial(**piece))
    spatial.p_elastic_deform, spatial.elastic_deform_scale, spatial.elastic_deform_magnitude = 1, (0.05, 0.15), (0, 5)
    spatial.p_rotation = spatial.p_scaling = 0
    found["elastic, labels of the nearest voxel"] = milliseconds(lambda: spatial(**piece))
    named = {"noise": noise, "blur": blur, "brightness": brightness, "contrast": contrast}
    for name, transform in (named | {"low resolution": coarse, "gamma": gamma}).items():
        transform.apply_probability = 1
        found[name] = milliseconds(lambda transform=transform: transform(image=patch["image"].clone()))
    found["mirroring"] = milliseconds(lambda: mirror(**patch))
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    cut = pieces(sys.argv[1])
    result = {
        "whole": whole(cut, int(sys.argv[2]), "bilinear"),
        "nearest": whole(cut, int(sys.argv[2]), "nearest"),
        "alone": alone(cut[0]),
    }
    print(json.dumps(result))
