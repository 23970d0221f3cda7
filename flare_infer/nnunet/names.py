"""The names of a network's tensors in nnU-Net, and ours."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from flare_infer.errors import WeightsError
from flare_infer.geometry import Shape
from flare_infer.model.architecture import Network


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One layer with a weight and, perhaps, a bias.

    Attributes:
        ours: name of the part in `UNet`.
        theirs: name of the part in nnU-Net.
        norm: whether it is a norm; otherwise a convolution.
    """

    ours: str
    theirs: str
    norm: bool = False


def from_nnunet(
    tensors: Mapping[str, Tensor], network: Network, *, convolution_bias: bool, norm_affine: bool
) -> dict[str, Tensor]:
    """Our names for the tensors of a checkpoint, each once, in the type they have there.

    nnU-Net reaches its layers by several ways and its checkpoints hold all of them; only the plain one is read.

    Args:
        tensors: tensors of the checkpoint, by name.
        network: network that the tensors belong to.
        convolution_bias: whether convolutions have a bias there; where not, ours are zero.
        norm_affine: whether norms have weight and bias there; where not, ours are one and zero.

    Raises:
        WeightsError: if a tensor is missing, or one is left over.
    """
    found: dict[str, Tensor] = {}
    rest = {name for name in tensors if not _is_alias(name)}
    for part in _parts(network):
        # nnU-Net's heads have a bias whatever the plan says.
        optional = not (norm_affine if part.norm else convolution_bias or part.ours.startswith("heads"))
        weight_name, bias_name = f"{part.theirs}.weight", f"{part.theirs}.bias"
        if part.norm and optional and weight_name not in rest:
            features = found[_convolution_before(part.ours)].shape[0]
            found[f"{part.ours}.weight"] = torch.ones(features)
            found[f"{part.ours}.bias"] = torch.zeros(features)
            continue
        weight = _take(weight_name, tensors, rest)
        found[f"{part.ours}.weight"] = weight
        if part.ours.endswith(_PROJECTION):
            continue
        if optional and bias_name not in rest:
            # A transposed convolution's weight is (inputs, outputs, ...).
            found[f"{part.ours}.bias"] = torch.zeros(weight.shape[1 if part.ours.startswith("upward") else 0])
        else:
            found[f"{part.ours}.bias"] = _take(bias_name, tensors, rest)
    if rest:
        raise WeightsError(f"tensor {min(rest)} belongs to no layer that the plan describes ({len(rest)} such)")
    return found


def to_nnunet(parameters: Mapping[str, Tensor], network: Network) -> dict[str, Tensor]:
    """nnU-Net's names for our tensors, with all the ways by which it reaches its layers; no tensor is copied."""
    named: dict[str, Tensor] = {}
    for part in _parts(network):
        for kind in ("weight", "bias"):
            if f"{part.ours}.{kind}" in parameters:
                tensor = parameters[f"{part.ours}.{kind}"]
                named.update(dict.fromkeys((f"{name}.{kind}" for name in _all_ways(part)), tensor))
    return named


_PROJECTION = ".projection.0"
"""How the names of the convolutions end that never have a bias."""


def _parts(network: Network) -> Iterator[_Part]:
    """Every layer, each norm right behind its convolution."""
    residual = network.block == "residual"
    if residual:
        yield from _pair("stem.0", "encoder.stem.convs.0")
    inputs = (network.features[0] if residual else 1, *network.features[:-1])
    for stage, count in enumerate(network.convolutions_encoder):
        for index in range(count):
            if not residual:
                yield from _pair(f"encoder.{stage}.{3 * index}", f"encoder.stages.{stage}.0.convs.{index}")
                continue
            stride: Shape = network.strides[stage] if index == 0 else (1, 1, 1)
            projected = index == 0 and inputs[stage] != network.features[stage]
            yield from _block(f"encoder.{stage}.{index}", f"encoder.stages.{stage}.blocks.{index}", stride, projected)
    for stage, count in enumerate(network.convolutions_decoder):
        # nnU-Net's decoder counts from the lowest resolution up.
        theirs = len(network.convolutions_decoder) - 1 - stage
        yield _Part(ours=f"upward.{stage}", theirs=f"decoder.transpconvs.{theirs}")
        for index in range(count):
            yield from _pair(f"decoder.{stage}.{3 * index}", f"decoder.stages.{theirs}.convs.{index}")
        yield _Part(ours=f"heads.{stage}", theirs=f"decoder.seg_layers.{theirs}")


def _pair(ours: str, theirs: str) -> Iterator[_Part]:
    """A convolution and, next in our sequence, its norm."""
    before, _, index = ours.rpartition(".")
    yield _Part(ours=ours, theirs=f"{theirs}.conv")
    yield _Part(ours=f"{before}.{int(index) + 1}", theirs=f"{theirs}.norm", norm=True)


def _block(ours: str, theirs: str, stride: Shape, projected: bool) -> Iterator[_Part]:
    yield from _pair(f"{ours}.first.0", f"{theirs}.conv1")
    yield from _pair(f"{ours}.second.0", f"{theirs}.conv2")
    if projected:
        pooled = stride != (1, 1, 1)
        yield from _pair(f"{ours}.projection.0", f"{theirs}.skip.{int(pooled)}")


def _convolution_before(norm: str) -> str:
    before, _, index = norm.rpartition(".")
    return f"{before}.{int(index) - 1}.weight"


def _take(name: str, tensors: Mapping[str, Tensor], rest: set[str]) -> Tensor:
    if name not in rest:
        raise WeightsError(f"tensor {name} is missing, which the plan's network has")
    rest.remove(name)
    return tensors[name]


def _is_alias(name: str) -> bool:
    return name.startswith("decoder.encoder.") or ".all_modules." in name


def _all_ways(part: _Part) -> Iterator[str]:
    """Every name under which nnU-Net knows a layer."""
    block, _, layer = part.theirs.rpartition(".")
    names = [part.theirs]
    if layer in {"conv", "norm"}:
        names.append(f"{block}.all_modules.{int(part.norm)}")
    for name in names:
        yield name
        if name.startswith("encoder."):
            yield f"decoder.{name}"
