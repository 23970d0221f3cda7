"""nnU-Net's words for a network, in and out: the architecture part of a plan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flare_infer.errors import SpecError
from flare_infer.geometry import Shape, triple_of_ints
from flare_infer.model.architecture import MOST_STAGES, BlockKind, Network

_PACKAGE: Final = "dynamic_network_architectures.architectures"
_BLOCKS: Final[Mapping[str, BlockKind]] = {"PlainConvUNet": "plain", "ResidualEncoderUNet": "residual"}
_COUNTS: Final[Mapping[BlockKind, str]] = {"plain": "n_conv_per_stage", "residual": "n_blocks_per_stage"}


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A network of nnU-Net.

    Attributes:
        network: numbers of the network.
        convolution_bias: whether its convolutions have a bias; where not, ours is zero.
        norm_affine: whether its norms have weight and bias; where not, ours are one and zero.
    """

    network: Network
    convolution_bias: bool = True
    norm_affine: bool = True


def read_architecture(configuration: Mapping[str, Any]) -> Architecture:
    """The network of one configuration of a plan, of the new style (`architecture`) or the old (`UNet_class_name`).

    Names in a plan are only compared with known ones; nothing is imported by them.

    Raises:
        SpecError: if the architecture is none of ours; the text names what was found.
        KeyError, TypeError, ValueError: if the plan lacks a number or holds something else in its place.
    """
    if "architecture" in configuration:
        style = configuration["architecture"]
        class_name, numbers = style["network_class_name"], dict(style["arch_kwargs"])
        if not str(class_name).startswith(f"{_PACKAGE}."):
            raise SpecError(f"architecture {class_name!r}, expected one of {_PACKAGE}")
        class_name = class_name.rpartition(".")[2]
    else:
        class_name, numbers = configuration["UNet_class_name"], _old_style(configuration)
    if class_name not in _BLOCKS:
        raise SpecError(f"architecture {class_name!r}, expected {' or '.join(_BLOCKS)}")
    block = _BLOCKS[class_name]
    _refuse_unknown_parts(numbers)
    stages = int(numbers["n_stages"])
    if not 2 <= stages <= MOST_STAGES:
        raise SpecError(f"a network of {stages} stages, expected 2 to {MOST_STAGES}")
    counts = numbers[_COUNTS[block] if _COUNTS[block] in numbers else _COUNTS["plain"]]
    network = Network(
        features=tuple(_each(numbers["features_per_stage"], stages)),
        kernels=tuple(_triple(kernel) for kernel in _each(numbers["kernel_sizes"], stages)),
        strides=tuple(_triple(stride) for stride in _each(numbers["strides"], stages)),
        convolutions_encoder=tuple(_each(counts, stages)),
        # nnU-Net's decoder counts from the lowest resolution up.
        convolutions_decoder=tuple(reversed(_each(numbers["n_conv_per_stage_decoder"], stages - 1))),
        block=block,
    )
    _refuse_other_stem(numbers, network)
    return Architecture(
        network=network,
        convolution_bias=bool(numbers.get("conv_bias", False)),
        norm_affine=bool((numbers.get("norm_op_kwargs") or {}).get("affine", False)),
    )


def write_architecture(network: Network) -> dict[str, Any]:
    """The part `architecture` of a new-style plan, with biases and affine norms everywhere."""
    class_name = next(name for name, block in _BLOCKS.items() if block == network.block)
    return {
        "network_class_name": f"{_PACKAGE}.unet.{class_name}",
        "arch_kwargs": {
            "n_stages": len(network.features),
            "features_per_stage": list(network.features),
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [list(kernel) for kernel in network.kernels],
            "strides": [list(stride) for stride in network.strides],
            _COUNTS[network.block]: list(network.convolutions_encoder),
            "n_conv_per_stage_decoder": list(reversed(network.convolutions_decoder)),
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def _old_style(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """What nnU-Net takes for granted of a plan that names no architecture."""
    counts = configuration["n_conv_per_stage_encoder"]
    base, most = int(configuration["UNet_base_num_features"]), int(configuration["unet_max_num_features"])
    return {
        "n_stages": len(counts),
        "features_per_stage": [min(base * 2**stage, most) for stage in range(min(len(counts), MOST_STAGES + 1))],
        "kernel_sizes": configuration["conv_kernel_sizes"],
        "strides": configuration["pool_op_kernel_sizes"],
        _COUNTS["plain"]: counts,
        "n_conv_per_stage_decoder": configuration["n_conv_per_stage_decoder"],
        "conv_bias": True,
        "norm_op": "InstanceNorm3d",
        "norm_op_kwargs": {"affine": True},
        "nonlin": "LeakyReLU",
    }


def _refuse_unknown_parts(numbers: Mapping[str, Any]) -> None:
    """Refuse what would change the network's function without changing the names of its tensors."""
    norm = numbers.get("norm_op_kwargs") or {}
    slope = (numbers.get("nonlin_kwargs") or {}).get("negative_slope", 0.01)
    found_and_expected = (
        ("conv_op", _last(numbers.get("conv_op", "Conv3d")), "Conv3d"),
        ("norm_op", _last(numbers.get("norm_op")), "InstanceNorm3d"),
        ("nonlin", _last(numbers.get("nonlin")), "LeakyReLU"),
        ("eps of norm_op", norm.get("eps", 1e-5), 1e-5),
        ("track_running_stats of norm_op", norm.get("track_running_stats", False), False),
        ("negative_slope of nonlin", slope, 0.01),
        ("nonlin_first", numbers.get("nonlin_first", False), False),
        ("block", _last(numbers.get("block", "BasicBlockD")), "BasicBlockD"),
        ("bottleneck_channels", numbers.get("bottleneck_channels"), None),
    )
    for name, found, expected in found_and_expected:
        if found != expected:
            raise SpecError(f"architecture with {name} {found!r}, expected {expected!r}")
    known = {
        *("n_stages", "features_per_stage", "conv_op", "kernel_sizes", "strides", *_COUNTS.values()),
        *("n_conv_per_stage_decoder", "conv_bias", "norm_op", "norm_op_kwargs", "nonlin", "nonlin_kwargs"),
        # Dropout does nothing at inference, and deep supervision adds outputs that inference does not read.
        *("dropout_op", "dropout_op_kwargs", "deep_supervision"),
        *("nonlin_first", "block", "bottleneck_channels", "stem_channels"),
    }
    if unknown := sorted(set(numbers) - known):
        raise SpecError(f"architecture with {', '.join(map(repr, unknown))}, which no network here has")


def _refuse_other_stem(numbers: Mapping[str, Any], network: Network) -> None:
    stem = numbers.get("stem_channels")
    if stem not in {None, network.features[0]}:
        raise SpecError(
            f"architecture with stem_channels {stem!r}, expected {network.features[0]} as in the first stage"
        )


def _last(name: object) -> str | None:
    """The class of a dotted name, as plans write `torch.nn.modules.conv.Conv3d`."""
    return None if name is None else str(name).rpartition(".")[2]


def _each(value: Any, stages: int) -> list[Any]:
    """One value for each stage; a plan may write a single number for all."""
    return [value] * stages if isinstance(value, int) else list(value)


def _triple(value: Sequence[int] | int) -> Shape:
    return triple_of_ints([value] * 3 if isinstance(value, int) else value)
