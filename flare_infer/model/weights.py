"""A weights directory to a live network, and back."""

import math
import os
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from flare_infer.errors import SpecError, UsageError, WeightsError
from flare_infer.files.hashing import check_sha256, read_bytes, sha256_of
from flare_infer.files.write_whole import remove_parts, write_whole
from flare_infer.model.model_file import SPEC_FILE, ModelFile, read_model_file, write_spec
from flare_infer.model.network import UNet
from flare_infer.model.spec import ModelSpec

WEIGHTS_FILE: Final = "model.safetensors"
ENVIRONMENT_VARIABLE: Final = "FLARE_WEIGHTS"
PREFERRED: Final = ("default", "lite")
"""Names looked for in a folder of models, best first."""

MOST_PARAMETERS: Final = 2**31
"""Of all folds together; the largest networks of nnU-Net have a tenth of it with five folds."""

_STORED_AS: Final = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_HEADER_BYTES: Final = 2**16
_HEADER_BYTES_PER_TENSOR: Final = 2**10


def find_weights(named: Path | None = None, *, source: str = "--weights") -> Path:
    """The weights directory to use.

    Order: `named`, then the environment variable FLARE_WEIGHTS, then the folder `weights` of the checkout or image,
    then the data of the installed package; in the last two `default` is preferred to `lite`. What is named may also be
    the bare name of a model in one of these two, where no folder of that name holds one.

    Args:
        named: what the user named, if anything.
        source: how, for the error.

    Raises:
        UsageError: if what was named holds no model, or none is found anywhere.
    """
    if named is not None:
        return _checked(named, source)
    if from_environment := os.environ.get(ENVIRONMENT_VARIABLE):
        return _checked(Path(from_environment), ENVIRONMENT_VARIABLE)
    for folder in _folders_that_came_along():
        for name in PREFERRED:
            if (folder / name / SPEC_FILE).is_file():
                return folder / name
    raise UsageError(f"no weights found; name a folder with --weights or {ENVIRONMENT_VARIABLE}")


def load_networks(directory: Path, device: torch.device) -> tuple[ModelSpec, list[UNet]]:
    """The specification in a weights directory, and the networks that it describes.

    Raises:
        SpecError: if model.json is missing or inconsistent.
        WeightsError: as `networks_of`.
    """
    model = read_model_file(directory)
    return model.spec, networks_of(model, device)


def networks_of(model: ModelFile, device: torch.device) -> list[UNet]:
    """The networks that a model.json describes, with their weights, ready for inference in float32.

    Returns:
        the network of every fold; each maps (n, 1, z, y, x) to logits (n, classes, z, y, x).

    Raises:
        WeightsError: if model.safetensors is missing, unreadable, has another hash than model.json records, or does
            not fit model.json.
    """
    spec, path = model.spec, model.directory / WEIGHTS_FILE
    tensors = {name: tensor.to(device) for name, tensor in _checked_tensors(path, model).items()}
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
    return networks


def live_network(spec: ModelSpec, parameters: dict[str, Tensor]) -> UNet:
    """The network of one fold around its parameters, ready for inference in float32.

    Raises:
        WeightsError: if names or shapes are not those of the network that the specification describes.
    """
    network = _empty_network(spec)
    try:
        network.load_state_dict(parameters, assign=True)
    except RuntimeError as error:
        raise WeightsError(f"weights do not fit the network ({str(error).splitlines()[-1].strip()})") from error
    return network.float().eval().requires_grad_(False)


def _checked_tensors(path: Path, model: ModelFile) -> dict[str, Tensor]:
    """The tensors of a file whose bytes have the hash that model.json records, on the CPU.

    The file is read once, and what was checked is what is used: it cannot be exchanged in between.
    """
    content = read_bytes(path, _most_bytes(model.spec))
    if model.sha256 is not None:
        check_sha256(path, sha256_of(content), model.sha256)
    try:
        tensors = load(content)
    except (SafetensorError, LookupError, RuntimeError, ValueError, OverflowError) as error:
        raise _unreadable(path, error) from error
    for name, tensor in tensors.items():
        if tensor.dtype not in _STORED_AS:
            raise WeightsError(f"{path}: {name} holds {tensor.dtype}, expected floating-point numbers of 16 to 64 bits")
    return tensors


def _most_bytes(spec: ModelSpec) -> int:
    """What the weights of such a model may take in a file; the rest of a larger file could mean nothing.

    Raises:
        SpecError: if the model is larger than any real one.
    """
    shapes = [tensor.shape for tensor in _empty_network(spec).state_dict().values()]
    numbers: int = spec.folds * sum(math.prod(shape) for shape in shapes)
    if numbers > MOST_PARAMETERS:
        raise SpecError(f"{spec.name}: a model of {numbers:.2e} parameters, expected at most {MOST_PARAMETERS:.1e}")
    return numbers * torch.float64.itemsize + spec.folds * len(shapes) * _HEADER_BYTES_PER_TENSOR + _HEADER_BYTES


def _empty_network(spec: ModelSpec) -> UNet:
    """A network of one fold that takes no memory: its tensors have shapes only."""
    with torch.device("meta"):
        return UNet(spec.network, spec.classes)


def check_weights(model: ModelFile) -> str:
    """The SHA-256 of a model's weights, compared with the recorded one if there is one; no network is made.

    Raises:
        WeightsError: as `networks_of`, but the tensors are not looked at.
    """
    path = model.directory / WEIGHTS_FILE
    found = sha256_of(read_bytes(path, _most_bytes(model.spec)))
    if model.sha256 is not None:
        check_sha256(path, found, model.sha256)
    return found


def count_parameters(directory: Path) -> int:
    """How many numbers a model's weights hold, read from the header of the file.

    Raises:
        WeightsError: if model.safetensors is missing or unreadable.
    """
    path = directory / WEIGHTS_FILE
    try:
        # The file is mapped, and of its header's promises nothing is allocated.
        with safe_open(path, framework="pt") as file:
            return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def save_model(directory: Path, spec: ModelSpec, *networks: UNet, precision: torch.dtype = torch.float16) -> None:
    """Write model.json and model.safetensors into a directory, which is made if need be.

    Args:
        directory: weights directory.
        spec: specification of the networks.
        networks: the network of each fold.
        precision: type of the stored numbers.

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
    remove_parts(directory, f".{WEIGHTS_FILE}.part", f".{SPEC_FILE}.part")
    content = save(tensors)
    write_whole(directory / WEIGHTS_FILE, content)  # not save_file, which makes files that only their owner may read
    write_spec(spec, directory, sha256_of(content))


def _prefixes(folds: int) -> list[str]:
    """What the names of each fold's tensors begin with; a single network's names stand for themselves."""
    return [""] if folds == 1 else [f"{fold}." for fold in range(folds)]


def _unreadable(path: Path, error: Exception) -> WeightsError:
    return WeightsError(f"{path}: not readable as weights ({error}); export the model again")


def _checked(named: Path, source: str) -> Path:
    if (named / SPEC_FILE).is_file():
        return named
    for folder in _folders_that_came_along():
        if len(named.parts) == 1 and (folder / named / SPEC_FILE).is_file():
            return folder / named
    came_along = {path.parent.name for folder in _folders_that_came_along() for path in folder.glob(f"*/{SPEC_FILE}")}
    known = f", or {' or '.join(sorted(came_along))}, which came along" if came_along else ""
    raise UsageError(
        f"{named} (from {source}): no {SPEC_FILE} here; name a folder that `flare-train export` wrote{known}"
    )


def _folders_that_came_along() -> tuple[Path, Path]:
    """Where models lie that came with the program."""
    package = Path(__file__).resolve().parents[1]
    return package.parent / "weights", package / "shipped_weights"
