"""A network in numbers: the part of a model's specification that says how its U-Net is built."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from flare_infer.errors import SpecError
from flare_infer.geometry import Shape, triple_of_ints

BlockKind: TypeAlias = Literal["plain", "residual"]
"""What an encoder stage is made of: plain convolutions, or residual blocks of two convolutions (nnU-Net's ResEnc)."""

MOST_STAGES: Final = 16
MOST_FEATURES: Final = 8192
MOST_CONVOLUTIONS: Final = 64
WIDEST_KERNEL: Final = 31
"""Far beyond any real network: larger numbers come from a damaged or hostile file, and no memory is spent on them."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """A U-Net of nnU-Net's architectures in numbers, one entry per stage.

    Attributes:
        features: channels of each encoder stage, from full resolution down.
        kernels: kernel of each stage along (z, y, x); odd numbers.
        strides: stride of the first convolution of each stage; that of the first stage is 1.
        convolutions_encoder: convolutions of each encoder stage; residual blocks where `block` is "residual".
        convolutions_decoder: convolutions of each decoder stage, from full resolution down; one fewer than stages.
        block: kind of block in the encoder's stages; the decoder's are plain.
    """

    features: tuple[int, ...]
    kernels: tuple[Shape, ...]
    strides: tuple[Shape, ...]
    convolutions_encoder: tuple[int, ...]
    convolutions_decoder: tuple[int, ...]
    block: BlockKind = "plain"

    def __post_init__(self) -> None:
        stages = len(self.features)
        lengths = (len(self.kernels), len(self.strides), len(self.convolutions_encoder))
        if stages < 2 or any(length != stages for length in lengths) or len(self.convolutions_decoder) != stages - 1:
            raise SpecError(
                f"a network of {stages} stages (at least 2) needs {stages} kernels, strides and convolutions_encoder "
                f"and {stages - 1} convolutions_decoder, found {(*lengths, len(self.convolutions_decoder))}"
            )
        if self.block not in get_args(BlockKind):
            raise SpecError(f"block must be one of {', '.join(get_args(BlockKind))}, found {self.block!r}")
        if any(size % 2 == 0 for kernel in self.kernels for size in kernel):
            raise SpecError(f"kernels must be odd along every axis, found {self.kernels}")
        self._check_sizes(stages)
        if self.strides[0] != (1, 1, 1):
            raise SpecError(f"the first stage keeps full resolution: stride (1, 1, 1), found {self.strides[0]}")

    def _check_sizes(self, stages: int) -> None:
        """Every number is a count, and of a size that a network may have."""
        for name, values, most in (
            ("stages", (stages,), MOST_STAGES),
            ("features", self.features, MOST_FEATURES),
            ("kernels", [size for kernel in self.kernels for size in kernel], WIDEST_KERNEL),
            ("strides", [step for stride in self.strides for step in stride], WIDEST_KERNEL),
            ("convolutions", (*self.convolutions_encoder, *self.convolutions_decoder), MOST_CONVOLUTIONS),
        ):
            if not all(isinstance(value, int) and 1 <= value <= most for value in values):
                raise SpecError(f"{name} of a network must be whole numbers from 1 to {most}, found {list(values)}")

    @property
    def reduction(self) -> Shape:
        """By how much the deepest stage is smaller, along (z, y, x); a patch must be a multiple of it."""
        total = [1, 1, 1]
        for stride in self.strides:
            total = [old * new for old, new in zip(total, stride, strict=True)]
        return triple_of_ints(total)
