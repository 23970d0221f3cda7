"""A weights directory to a live network, and back."""

import math
import os
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from flare_infer.ensemble import Run, as_one
from flare_infer.errors import UsageError, WeightsError
from flare_infer.network import UNet
from flare_infer.spec import SPEC_FILE, ModelSpec, read_spec, write_spec

WEIGHTS_FILE: Final = "model.safetensors"
ENVIRONMENT_VARIABLE: Final = "FLARE_WEIGHTS"
PREFERRED: Final = ("default", "lite")
"""Names looked for in a folder of models, best first."""


def find_weights(named: Path | None = None) -> Path:
    """The weights directory to use.

    Order: `named`, then the environment variable FLARE_WEIGHTS, then the folder `weights` of the checkout or image,
    then the data of the installed package; in the last two `default` is preferred to `lite`.

    Raises:
        UsageError: if what was named holds no model, or none is found anywhere.
    """
    if named is not None:
        return _checked(named, "--weights")
    if from_environment := os.environ.get(ENVIRONMENT_VARIABLE):
        return _checked(Path(from_environment), ENVIRONMENT_VARIABLE)
    package = Path(__file__).resolve().parent
    for folder in (package.parent / "weights", package / "shipped_weights"):
        for name in PREFERRED:
            if (folder / name / SPEC_FILE).is_file():
                return folder / name
    raise UsageError(f"no weights found; name a folder with --weights or {ENVIRONMENT_VARIABLE}")


def load_model(directory: Path, device: torch.device) -> tuple[ModelSpec, Run]:
    """Build what a directory describes and fill it with its weights, ready for inference in float32.

    Returns:
        the specification, and a network that maps (n, 1, z, y, x) to logits (n, classes, z, y, x): a `UNet`, or an
        `Ensemble` where the specification asks for several folds or for mirroring.

    Raises:
        SpecError: if model.json is missing or inconsistent.
        WeightsError: if model.safetensors is missing, unreadable, or does not fit model.json.
    """
    spec, networks = load_networks(directory, device)
    return spec, as_one(networks, spec.mirror_axes)


def load_networks(directory: Path, device: torch.device) -> tuple[ModelSpec, list[UNet]]:
    """The network of every fold of a model, each by itself; raises as `load_model`."""
    spec = read_spec(directory)
    path = directory / WEIGHTS_FILE
    try:
        tensors = load_file(path, device=str(device))
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error
    networks = []
    for prefix in _prefixes(spec.folds):
        own = [name for name in tensors if name.startswith(prefix)]
        parameters = {name.removeprefix(prefix): tensors.pop(name) for name in own}
        try:
            networks.append(live_network(spec, parameters))
        except WeightsError as error:
            raise WeightsError(f"{path}: does not fit {SPEC_FILE} beside it ({error})") from error
    if tensors:
        raise WeightsError(f"{path}: does not fit {SPEC_FILE} beside it ({next(iter(tensors))} belongs to no fold)")
    return spec, networks


def live_network(spec: ModelSpec, parameters: dict[str, Tensor]) -> UNet:
    """The network of one fold around its parameters, ready for inference in float32.

    Raises:
        WeightsError: if names or shapes are not those of the network that the specification describes.
    """
    with torch.device("meta"):
        network = UNet(spec.network, spec.classes)
    try:
        network.load_state_dict(parameters, assign=True)
    except RuntimeError as error:
        raise WeightsError(f"weights do not fit the network ({str(error).splitlines()[-1].strip()})") from error
    return network.float().eval().requires_grad_(False)


def count_parameters(directory: Path) -> int:
    """How many numbers a model's weights hold, read from the header of the file.

    Raises:
        WeightsError: if model.safetensors is missing or unreadable.
    """
    path = directory / WEIGHTS_FILE
    try:
        with safe_open(path, framework="pt") as file:
            return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def save_model(directory: Path, spec: ModelSpec, *networks: UNet, precision: torch.dtype = torch.float16) -> None:
    """Write model.json and model.safetensors into a directory, which is made if need be.

    Args:
        directory: where to.
        spec: what the networks are.
        networks: one of each fold.
        precision: of the stored numbers.

    Raises:
        WeightsError: if there is not one network for each fold.
    """
    if len(networks) != spec.folds:
        raise WeightsError(f"{directory}: a model of {spec.folds} fold(s) needs as many networks, got {len(networks)}")
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {
        # Copied, because the file's format knows neither shared memory nor another order of axes.
        prefix + name: tensor.detach().to("cpu", precision, copy=True).contiguous()
        for prefix, network in zip(_prefixes(spec.folds), networks, strict=True)
        for name, tensor in network.state_dict().items()
    }
    part = directory / f".{WEIGHTS_FILE}.part"
    part.write_bytes(save(tensors))  # not save_file, which makes files that only their owner may read
    part.replace(directory / WEIGHTS_FILE)
    write_spec(spec, directory)


def _prefixes(folds: int) -> list[str]:
    """What the names of each fold's tensors begin with; a single network's names stand for themselves."""
    return [""] if folds == 1 else [f"{fold}." for fold in range(folds)]


def _unreadable(path: Path, error: Exception) -> WeightsError:
    return WeightsError(f"{path}: not readable as weights ({error}); export the model again")


def _checked(directory: Path, source: str) -> Path:
    if not (directory / SPEC_FILE).is_file():
        raise UsageError(
            f"{directory} (from {source}): no {SPEC_FILE} here; name a folder that `flare-train export` wrote"
        )
    return directory
