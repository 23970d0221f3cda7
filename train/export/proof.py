"""Comparison of an exported model with the trained network: the logits of both on one patch."""

import copy
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from flare_infer.errors import WeightsError
from flare_infer.model.network import UNet
from flare_infer.model.spec import ModelSpec
from flare_infer.model.weights import load_networks
from flare_infer.nnunet.importing import import_nnunet

LOGITS_WITHIN: Final = 1e-4
"""Largest difference explained by rounding in float32, as a fraction of the largest logit (of at least 1)."""

ROUNDED_WITHIN: Final = 0.05
"""Largest difference explained by storing numbers in 16 bits; a larger one means, for example, an overflow."""

STORED: Final = torch.float16
"""Type in which parameters are stored."""

_SEED: Final = 2023


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Largest differences between the logits of a patch.

    Attributes:
        rounding: between the trained network and the same network with its parameters rounded as stored.
        weights: between the rounded network and the weights directory, read back.
        nnunet: between the rounded network and the folder for nnU-Net, imported again; None if there is none. Classes
            that the model never predicts are left out: there they have a constant logit that never wins.
    """

    rounding: float
    weights: float
    nnunet: float | None = None


def prove(network: UNet, spec: ModelSpec, weights: Path, nnunet: Path | None = None) -> Proof:
    """Run the trained network and the written model on the same noise.

    Args:
        network: the trained network; not changed.
        spec: specification of the model.
        weights: weights directory of one network.
        nnunet: folder with the same model for nnU-Net's predictor; None if there is none.

    Raises:
        WeightsError: if the logits differ by more than rounding explains, or the written model cannot be read.
    """
    generator = torch.Generator().manual_seed(_SEED)
    patch_nczyx = torch.randn((1, 1, *spec.patch), generator=generator)
    trained = _logits(network, patch_nczyx)
    stored = copy.deepcopy(network)
    for tensor in (*stored.parameters(), *stored.buffers()):
        tensor.data = tensor.data.to(STORED).float()
    expected = _logits(stored, patch_nczyx)
    rounding = _difference("its numbers in 16 bits", expected, trained, ROUNDED_WITHIN)
    (read,) = load_networks(weights, torch.device("cpu"))[1]
    of_weights = _difference("the weights directory", _logits(read, patch_nczyx), expected, LOGITS_WITHIN)
    if nnunet is None:
        return Proof(rounding=rounding, weights=of_weights)
    imported = _logits(_imported(nnunet, spec), patch_nczyx)
    known = [code for code in range(spec.classes) if code not in spec.untrained]
    if spec.untrained and not bool((imported[:, list(spec.untrained)] < imported[:, known].amin()).all()):
        raise WeightsError(f"{nnunet}: a class that the model never predicts can win there; this is a bug, report it")
    of_nnunet = _difference("the nnU-Net folder", imported[:, known], expected[:, known], LOGITS_WITHIN)
    return Proof(rounding=rounding, weights=of_weights, nnunet=of_nnunet)


def _imported(nnunet: Path, spec: ModelSpec) -> UNet:
    """The network of an nnU-Net folder, by our own importer."""
    with tempfile.TemporaryDirectory() as scratch:
        found = import_nnunet(nnunet, Path(scratch) / "imported").spec
        for name in ("patch", "spacing_mm", "normalization", "network"):
            if getattr(found, name) != getattr(spec, name):
                raise WeightsError(
                    f"{nnunet}: reads back with {name} {getattr(found, name)}, expected {getattr(spec, name)}"
                )
        (network,) = load_networks(Path(scratch) / "imported", torch.device("cpu"))[1]
    return network


def _logits(network: UNet, patch_nczyx: Tensor) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = network.eval()(patch_nczyx)
    return logits


def _difference(what: str, found: Tensor, expected: Tensor, within: float) -> float:
    """The largest difference between two tensors of logits.

    Raises:
        WeightsError: if it is more than a fraction `within` of the largest logit, or not a number; `what` names the
            model in the error.
    """
    difference = float((found - expected).abs().max())
    if not difference <= within * max(1.0, float(expected.abs().max())):
        raise WeightsError(
            f"{what}: logits of a patch differ from the trained network's by {difference:.1e}, where the largest is "
            f"{float(expected.abs().max()):.1e}; nothing was exported"
        )
    return difference
