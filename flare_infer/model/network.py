"""The U-Net, built from numbers (nnU-Net's architectures: plain convolutions, or a residual encoder)."""

from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from flare_infer.geometry import Shape
from flare_infer.model.architecture import Network


class UNet(nn.Module):
    """U-Net of convolution, instance norm and leaky ReLU; transposed convolutions upward.

    The stages of the encoder are plain convolutions or, behind a stem of one convolution, residual blocks; those of
    the decoder are plain. With the numbers of the paper's coarse model (`train.recipes.recipe.coarse`) it has 31.21
    million parameters.

    Args:
        network: the architecture in numbers.
        classes: output channels, background included.
        channels: input channels.
    """

    def __init__(self, network: Network, classes: int, channels: int = 1) -> None:
        super().__init__()
        residual = network.block == "residual"
        first, kernel, once = network.features[0], network.kernels[0], (1, 1, 1)
        # An identity has no parameters, so that a plain model's names know of no stem.
        self.stem = _stage(channels, first, kernel, once, 1) if residual else nn.Identity()
        inputs = (first if residual else channels, *network.features[:-1])
        make_stage = _residual_stage if residual else _stage
        self.encoder = nn.ModuleList(
            make_stage(inputs[stage], network.features[stage], network.kernels[stage], network.strides[stage], count)
            for stage, count in enumerate(network.convolutions_encoder)
        )
        self.upward = nn.ModuleList(
            nn.ConvTranspose3d(below, here, stride, stride)
            for (here, below), stride in zip(pairwise(network.features), network.strides[1:], strict=True)
        )
        self.decoder = nn.ModuleList(
            _stage(2 * network.features[stage], network.features[stage], network.kernels[stage], once, count)
            for stage, count in enumerate(network.convolutions_decoder)
        )
        self.heads = nn.ModuleList(nn.Conv3d(features, classes, 1) for features in network.features[:-1])

    def forward(self, batch_nczyx: Tensor) -> Tensor:
        """Logits at full resolution, (n, classes, z, y, x), for input (n, channels, z, y, x).

        Every spatial length must be a multiple of the network's `reduction`.
        """
        logits: Tensor = self.heads[0](self._features(batch_nczyx)[0])
        return logits

    def deep_supervision(self, batch_nczyx: Tensor) -> list[Tensor]:
        """Logits of every decoder stage, full resolution first; for training only."""
        features = self._features(batch_nczyx)
        return [head(stage) for head, stage in zip(self.heads, features, strict=True)]

    def _features(self, batch_nczyx: Tensor) -> list[Tensor]:
        """Output of every decoder stage, full resolution first."""
        skips = []
        here = self.stem(batch_nczyx)
        for stage in self.encoder:
            here = stage(here)
            skips.append(here)
        del skips[-1]
        features = []
        for upward, decoder in zip(reversed(self.upward), reversed(self.decoder), strict=True):
            here = torch.cat((upward(here), skips.pop()), dim=1)
            for layer in decoder.children():  # not decoder(here), which would keep the widest tensor until it returns
                here = layer(here)
            features.append(here)
        return features[::-1]


class Convolution(nn.Conv3d):
    """A convolution that, while training on a CPU, runs in float32 where the map is less deep than the kernel.

    There, oneDNN's bfloat16 gradient of the weights holds memory that was never written (docs/decisions/0004).
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """What `nn.Conv3d` gives, in the type of the inputs."""
        half = inputs.device.type == "cpu" and torch.is_autocast_enabled("cpu") and torch.is_grad_enabled()
        if not half or inputs.shape[2] >= self.kernel_size[0]:
            return super().forward(inputs)
        with torch.autocast("cpu", enabled=False):
            return super().forward(inputs.float()).to(inputs.dtype)


class Norm(nn.Module):
    """Instance norm, always computed in float32."""

    EPSILON: Final = 1e-5
    """Added to the variance."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, inputs: Tensor) -> Tensor:
        """The same shape and type, every channel of every window normalized, scaled and shifted."""
        with torch.autocast(inputs.device.type, enabled=False):
            normalized = functional.instance_norm(inputs.float(), weight=self.weight, bias=self.bias, eps=self.EPSILON)
        return normalized.to(inputs.dtype)


class _Block(nn.Module):
    """Two convolutions beside a shortcut (the ResNet-D block of nnU-Net's residual encoder).

    The shortcut averages over the stride and, where the number of features changes, projects with a 1 x 1 x 1
    convolution and norm.
    """

    def __init__(self, inputs: int, features: int, kernel: Shape, stride: Shape) -> None:
        super().__init__()
        self.first = nn.Sequential(_convolution(inputs, features, kernel, stride), Norm(features), _relu())
        self.second = nn.Sequential(_convolution(features, features, kernel, (1, 1, 1)), Norm(features))
        self.pool = nn.AvgPool3d(stride, stride) if stride != (1, 1, 1) else nn.Identity()
        self.projection = (
            nn.Sequential(nn.Conv3d(inputs, features, 1, bias=False), Norm(features))
            if inputs != features
            else nn.Identity()
        )
        self.last = _relu()

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.last(self.second(self.first(inputs)) + self.projection(self.pool(inputs)))
        return outputs


def _residual_stage(inputs: int, features: int, kernel: Shape, stride: Shape, blocks: int) -> nn.Sequential:
    return nn.Sequential(
        _Block(inputs, features, kernel, stride),
        *(_Block(features, features, kernel, (1, 1, 1)) for _ in range(blocks - 1)),
    )


def _stage(inputs: int, features: int, kernel: Shape, stride: Shape, convolutions: int) -> nn.Sequential:
    layers: list[nn.Module] = [_convolution(inputs, features, kernel, stride), Norm(features), _relu()]
    for _ in range(convolutions - 1):
        layers += [_convolution(features, features, kernel, (1, 1, 1)), Norm(features), _relu()]
    return nn.Sequential(*layers)


def _convolution(inputs: int, features: int, kernel: Shape, stride: Shape) -> Convolution:
    return Convolution(inputs, features, kernel, stride, padding=(kernel[0] // 2, kernel[1] // 2, kernel[2] // 2))


def _relu() -> nn.LeakyReLU:
    return nn.LeakyReLU(0.01)
