"""The channels that Dice and cross-entropy are computed in, and the translation of label codes to channels."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from flare_infer.labels import IGNORED
from train.loss.dice_ce import NOT_COUNTED


@dataclass(frozen=True, kw_only=True)
class Channels:
    """The channels in which a case can be judged.

    Attributes:
        logits_kzyx: logits (channels, z, y, x): channel 0 is background or what is merged with it, then follows one
            channel for each of `codes`; further channels enter the softmax only.
        target_zyx: channel of each voxel, int64; NOT_COUNTED where the labels say IGNORED.
        codes: codes of the channels 1, 2, ...
    """

    logits_kzyx: Tensor
    target_zyx: Tensor
    codes: tuple[int, ...]


def channel_targets(labels_zyx: Tensor, channels: Mapping[int, int]) -> Tensor:
    """Translate codes to channels.

    Args:
        labels_zyx: codes (z, y, x), uint8.
        channels: channel of each code; codes that are not among them get channel 0, IGNORED gets NOT_COUNTED.

    Returns:
        channels (z, y, x), int64.
    """
    table = torch.zeros(torch.iinfo(torch.uint8).max + 1, dtype=torch.int64, device=labels_zyx.device)
    for code, channel in channels.items():
        table[code] = channel
    table[IGNORED] = NOT_COUNTED
    return table[labels_zyx.long()]
