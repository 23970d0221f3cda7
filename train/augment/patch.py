"""A patch: the data that augmentation and loss work on."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A piece of a case.

    Attributes:
        image_zyx: normalized image (z, y, x), float32.
        labels_zyx: codes (z, y, x), uint8, with KNOWN_BACKGROUND and IGNORED among them.
        annotated: codes of the classes that the labels annotate.
    """

    image_zyx: Tensor
    labels_zyx: Tensor
    annotated: tuple[int, ...]
