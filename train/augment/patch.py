"""What travels from the store to the loss."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A piece of a case.

    Attributes:
        image_zyx: normalized image, float32.
        labels_zyx: codes, uint8, KNOWN_BACKGROUND and IGNORED included.
        annotated: codes the labels say something about.
    """

    image_zyx: Tensor
    labels_zyx: Tensor
    annotated: tuple[int, ...]
