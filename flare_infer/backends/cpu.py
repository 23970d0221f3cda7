"""A network of torch made ready to infer on a CPU: channels last, norms in one pass, nothing kept for gradients.

The results are those of the network as it was trained: in float32 within rounding, in bfloat16 as under autocast.
"""

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from flare_infer.model.network import Norm, UNet

ROW: Final = 16384
"""Numbers that are summed side by side in the statistics of a norm: 64 kB of partial sums stay in the cache."""


def infer_on_cpu(network: UNet, dtype: torch.dtype) -> nn.Module:
    """Change a network in place for inference on a CPU; it can be trained no more.

    Convolutions run with channels last, which oneDNN takes as it is: in the usual order it copies every input and every
    output of a convolution into an order of its own. Weights are cast once instead of in every forward pass.

    Args:
        network: float32, on the CPU.
        dtype: type of convolutions and activations, float32 or bfloat16; statistics of norms are float32 all the same.

    Returns:
        maps (n, channels, z, y, x), float32, to logits (n, classes, z, y, x), float32; one window after the other,
        since a larger batch is no faster on a CPU.
    """
    for module in list(network.modules()):
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            module.to(dtype, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        elif isinstance(module, nn.LeakyReLU):
            module.inplace = True  # its input is always a norm's or a sum's output, which is read nowhere else
        for name, child in module.named_children():
            if isinstance(child, Norm):
                setattr(module, name, _ChannelsLastNorm(child))
            elif isinstance(child, nn.AvgPool3d):
                setattr(module, name, _FloatPool(child))
    return _OneByOne(network, dtype)


class _OneByOne(nn.Module):
    """Windows of a batch, one after the other."""

    def __init__(self, network: UNet, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network
        self.dtype = dtype

    def forward(self, batch_nczyx: Tensor) -> Tensor:
        batch_nczyx = batch_nczyx.to(self.dtype, memory_format=torch.channels_last_3d)
        # In the usual order, which blending reads fastest.
        logits = [
            self.network(window).to(torch.float32, memory_format=torch.contiguous_format)
            for window in torch.split(batch_nczyx, 1)
        ]
        return logits[0] if len(logits) == 1 else torch.cat(logits)


class _ChannelsLastNorm(nn.Module):
    """The instance norm of one window whose channels are its last axis in memory."""

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        self.weight = norm.weight
        self.bias = norm.bias

    def forward(self, window_nczyx: Tensor) -> Tensor:
        window_nczyx = window_nczyx.contiguous(memory_format=torch.channels_last_3d)
        mean, variance = channel_statistics(window_nczyx)
        return functional.batch_norm(window_nczyx, mean, variance, self.weight, self.bias, eps=Norm.EPSILON)


class _FloatPool(nn.Module):
    """Average pooling in float32: torch has none for other types on a CPU."""

    def __init__(self, pool: nn.AvgPool3d) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, window_nczyx: Tensor) -> Tensor:
        pooled: Tensor = self.pool(window_nczyx.float())
        return pooled.to(window_nczyx.dtype)


def channel_statistics(window_nczyx: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (not corrected) of every channel of one window, float32 whatever its type.

    torch's own statistics for channels last add a channel's voxels one by one in float32. Over a million voxels that
    loses four digits, and where a channel is constant (a window of air) the deviation divided by is nearly zero, so
    that a norm comes out wrong by 2. Hence groups of neighboring voxels are taken for channels of their own: short
    sums, of which mean and variance of the whole are put together exactly.

    Args:
        window_nczyx: n is 1; contiguous in channels-last order.
    """
    channels = window_nczyx.shape[1]
    voxels = window_nczyx[0, 0].numel()
    group = math.gcd(voxels, max(1, ROW // channels))
    rows = window_nczyx[0].permute(1, 2, 3, 0).reshape(voxels // group, group * channels)
    # Never read; they make torch take it that statistics are float32 where the rows are not.
    running = torch.zeros(rows.shape[1]), torch.ones(rows.shape[1])
    means, variances = torch.batch_norm_update_stats(rows, *running, 0.0)
    means, variances = means.view(group, channels), variances.view(group, channels)
    mean = means.mean(dim=0)
    return mean, (variances + (means - mean).square_()).mean(dim=0)
