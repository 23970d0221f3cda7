"""What a method for partial labels hands on to Dice and cross-entropy, and how label codes become its channels."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from flare_infer.labels import IGNORED
from train.loss.dice_ce import NOT_COUNTED


@dataclass(frozen=True, kw_only=True)
class Channels:
    """The channels in which a case can be judged.

    Attributes:
        logits_kzyx: channel 0 is background or what is merged with it, then one channel for each of `codes`; further
            channels only compete.
        target_zyx: channel of each voxel, int64; NOT_COUNTED where the labels say IGNORED.
        codes: class of the channels 1, 2, ...
    """

    logits_kzyx: Tensor
    target_zyx: Tensor
    codes: tuple[int, ...]


def channel_targets(labels_zyx: Tensor, channels: Mapping[int, int]) -> Tensor:
    """Codes (uint8) to the channels given; IGNORED is not counted, any other code is channel 0."""
    table = torch.zeros(torch.iinfo(torch.uint8).max + 1, dtype=torch.int64, device=labels_zyx.device)
    for code, channel in channels.items():
        table[code] = channel
    table[IGNORED] = NOT_COUNTED
    return table[labels_zyx.long()]


def unlabeled_codes(classes: int, annotated: Collection[int]) -> list[int]:
    """The classes of a network that a case does not annotate."""
    return [code for code in range(1, classes) if code not in annotated]


def channel_of_code(codes: Collection[int]) -> dict[int, int]:
    """Channel of each code: 1, 2, ... in increasing order of the codes."""
    return {code: channel for channel, code in enumerate(sorted(codes), start=1)}
