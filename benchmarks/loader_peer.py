"""nnU-Net's own data loader on the same cases: run by its own Python, which knows nothing of this project.

Usage (by `loader.py`): PEER_PYTHON benchmarks/loader_peer.py prepare CASES.npz FOLDER
                        PEER_PYTHON benchmarks/loader_peer.py measure FOLDER WAY WORKERS SECONDS

`prepare` writes `image_NAME` and `labels_NAME` (z, y, x) of each case as nnU-Net's preprocessing would.
`measure` draws batches as nnU-Net's trainer does and prints samples, seconds, processor time and the memory of a worker
as JSON. WAY:
    same      rotation about all axes by up to 30 degrees, everything else as its trainer has it
    nearest   the same, with the label of the nearest voxel instead of the one that wins by linear interpolation
    own       as its trainer configures itself for this patch: in the plane alone, by any angle
    elastic   `same` with an elastic deformation of 0.2 of the patches
"""

import json
import multiprocessing
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

PATCH, BATCH, FOREGROUND, CLASSES = (32, 192, 192), 4, 0.7, 14
SPACING_MM = (2.5, 1.5, 1.5)
MIRROR_AXES = (0, 1)
ELASTIC_SIGMA, ELASTIC_VOXELS = (0.05, 0.15), (0, 5)
"""Share of the patch's edge that displacements are smoothed with, and their largest size: neither changes the time."""


def prepare(source: Path, folder: Path) -> None:
    """Save all cases in nnU-Net's format, in the chunks that it chooses for this patch."""
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2

    folder.mkdir()
    with np.load(source) as cases:
        for name in [key.removeprefix("image_") for key in cases.files if key.startswith("image_")]:
            image = cases[f"image_{name}"][None].astype(np.float32)
            labels = cases[f"labels_{name}"][None].astype(np.int16)
            blocks, chunks = comp_blosc2_params(image.shape, PATCH, image.itemsize)
            blocks_seg, chunks_seg = comp_blosc2_params(labels.shape, PATCH, labels.itemsize)
            where = DefaultPreprocessor._sample_foreground_locations(labels, list(range(1, CLASSES + 1)))
            properties = {"class_locations": where, "spacing": SPACING_MM}
            nnUNetDatasetBlosc2.save_case(
                image,
                labels,
                properties,
                str(folder / name),
                chunks=chunks,
                blocks=blocks,
                chunks_seg=chunks_seg,
                blocks_seg=blocks_seg,
            )


def loader(folder: Path, way: str) -> Any:
    """Its data loader with its trainer's transforms."""
    from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size
    from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    flat = way == "own"
    largest = np.pi if flat else np.pi / 6
    rotation = (-largest, largest)
    read = get_patch_size(PATCH, rotation, rotation, rotation, (0.85, 1.25))
    if flat:
        read[0] = PATCH[0]
    labels = {"background": 0} | {str(code): code for code in range(1, CLASSES + 1)}
    chain = nnUNetTrainer.get_training_transforms(
        PATCH, rotation, None, MIRROR_AXES, flat, use_mask_for_norm=[False], foreground_labels=list(range(1, CLASSES))
    )
    spatial = chain.transforms[1 if flat else 0]
    if way == "nearest":
        spatial.mode_seg = "nearest"
    if way == "elastic":
        spatial.p_elastic_deform = 0.2
        spatial.elastic_deform_scale, spatial.elastic_deform_magnitude = ELASTIC_SIGMA, ELASTIC_VOXELS
    return nnUNetDataLoader(
        nnUNetDatasetBlosc2(str(folder)),
        BATCH,
        read,
        PATCH,
        LabelManager(labels, None),
        oversample_foreground_percent=FOREGROUND,
        transforms=chain,
    )


def measure(folder: Path, way: str, workers: int, seconds: float) -> dict[str, float]:
    """Draw for some seconds after every worker has drawn."""
    from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter

    batches = NonDetMultiThreadedAugmenter(
        loader(folder, way), None, workers, num_cached=max(6, workers // 2), seeds=None, wait_time=0.002
    )
    for _ in range(2 * workers):
        next(batches)
    workers_at_work = [child.pid for child in multiprocessing.active_children()]
    spent = -time.process_time() - _processor_seconds(workers_at_work)
    started, drawn = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        drawn += len(next(batches)["data"])
    took = time.perf_counter() - started
    spent += time.process_time() + _processor_seconds(workers_at_work)
    peak_mb = max(_peak_mb(process) for process in workers_at_work)
    batches._finish()
    return {"samples": drawn, "seconds": took, "processor_ms": spent / drawn * 1e3, "worker_mb": peak_mb}


def _processor_seconds(processes: list[Any]) -> float:
    """What they have used, the system's share included."""
    fields = [Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split() for process in processes]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


def _peak_mb(process: int | None) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if sys.argv[1] == "prepare":
        prepare(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        print(json.dumps(measure(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))))
