"""A tiny model, small enough for any test."""

from pathlib import Path

import torch

from flare_infer.model.architecture import Network
from flare_infer.model.ensemble import Run, as_one
from flare_infer.model.spec import ModelSpec, Normalization, Skipping
from flare_infer.model.weights import load_networks

LPS = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))


def tiny_spec(**changes: object) -> ModelSpec:
    cube, half = (3, 3, 3), (2, 2, 2)
    fields: dict[str, object] = {
        "name": "tiny",
        "spacing_mm": (8.0, 8.0, 8.0),
        "patch": (8, 16, 16),
        "normalization": Normalization(clip_low_hu=-200, clip_high_hu=300, mean_hu=50, std_hu=100),
        "network": Network(
            features=(4, 8),
            kernels=(cube, cube),
            strides=((1, 1, 1), half),
            convolutions_encoder=(1, 1),
            convolutions_decoder=(1,),
        ),
    }
    return ModelSpec(**(fields | changes))  # type: ignore[arg-type]


def pointwise_spec(classes: int, patch: tuple[int, int, int], **changes: object) -> ModelSpec:
    """Numbers for a stand-in of a network that needs no more than windows: any patch, no skipping by indicators."""
    network = Network(
        features=(1, 1),
        kernels=((1, 1, 1), (1, 1, 1)),
        strides=((1, 1, 1), (1, 1, 1)),
        convolutions_encoder=(1, 1),
        convolutions_decoder=(1,),
    )
    labels = tuple(f"class {code}" for code in range(classes))
    fields = {"patch": patch, "network": network, "labels": labels, "skipping": Skipping(foreground_voxels=0)}
    return tiny_spec(**(fields | changes))


def load_model(directory: Path, device: torch.device) -> tuple[ModelSpec, Run]:
    """What a weights directory describes: its specification, and one network of all its folds."""
    spec, networks = load_networks(directory, device)
    return spec, as_one(networks, spec.mirror_axes)
