"""Changes of a patch's intensities, in nnU-Net's order and with its ranges (docs/paper.md, Augmentation).

Two things differ from nnU-Net (2.8.1 with batchgeneratorsv2 0.3.6). It applies a chosen blur or coarsening to each
channel with probability 1/2, so that for one channel its 0.2 and 0.25 are 0.1 and 0.125; the paper's recipes state the
latter. A blur here repeats the outermost voxel, where nnU-Net mirrors. Everything else is the same.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from flare_infer.errors import SpecError


@dataclass(frozen=True, kw_only=True)
class IntensityAugmentation:
    """Probabilities of the changes of intensity; their ranges are nnU-Net's, see `draw_intensity`.

    Attributes:
        noise: probability of Gaussian noise.
        noise_deviation: largest standard deviation of the noise; nnU-Net's is 0.1.
        blur: probability of a Gaussian blur.
        brightness: probability of a factor on all values.
        contrast: probability of a factor on the distance from the mean.
        low_resolution: probability of a reduction to fewer voxels and back.
        gamma: probability of a gamma curve.
        gamma_inverted: probability of a gamma curve on the inverted image, before the other one.
    """

    noise: float = 0.1
    noise_deviation: float = 0.3
    blur: float = 0.2
    brightness: float = 0.15
    contrast: float = 0.15
    low_resolution: float = 0.25
    gamma: float = 0.3
    gamma_inverted: float = 0.1

    def __post_init__(self) -> None:
        chances = (self.noise, self.blur, self.brightness, self.contrast, self.low_resolution)
        if any(not 0 <= chance <= 1 for chance in (*chances, self.gamma, self.gamma_inverted)):
            raise SpecError(f"intensity needs probabilities in [0, 1], found {self}")
        if self.noise_deviation < 0:
            raise SpecError(f"intensity needs a noise_deviation from 0 on, found {self.noise_deviation}")


@dataclass(frozen=True, kw_only=True)
class IntensityParameters:
    """Drawn changes of intensity; None for a change that does not happen.

    Attributes:
        noise: standard deviation of Gaussian noise.
        noise_seed: seed of the noise.
        blur: sigma of a Gaussian blur along (z, y, x), in voxels.
        brightness: factor on all values.
        contrast: factor on the distance from the mean; values are clipped to the range before.
        low_resolution: factor below 1 by which the patch is reduced, and then enlarged again.
        gamma: exponents of gamma curves in the order they are applied, each with a flag: on the inverted image or not.
    """

    noise: float | None = None
    noise_seed: int = 0
    blur: tuple[float, float, float] | None = None
    brightness: float | None = None
    contrast: float | None = None
    low_resolution: float | None = None
    gamma: tuple[tuple[float, bool], ...] = ()


def draw_intensity(intensity: IntensityAugmentation, rng: np.random.Generator) -> IntensityParameters:
    """Draw the changes of one patch."""

    def maybe(probability: float, low: float, high: float) -> float | None:
        return float(rng.uniform(low, high)) if rng.random() < probability else None

    gamma = []
    for probability, inverted in ((intensity.gamma_inverted, True), (intensity.gamma, False)):
        if rng.random() < probability:
            gamma.append((_draw_exponent(rng), inverted))
    blurred = rng.random() < intensity.blur
    z, y, x = rng.uniform(0.5, 1.0, 3).tolist()
    return IntensityParameters(
        noise=maybe(intensity.noise, 0.0, intensity.noise_deviation),
        noise_seed=int(rng.integers(2**31)),
        blur=(z, y, x) if blurred else None,
        brightness=maybe(intensity.brightness, 0.75, 1.25),
        contrast=maybe(intensity.contrast, 0.75, 1.25),
        low_resolution=maybe(intensity.low_resolution, 0.5, 1.0),
        gamma=tuple(gamma),
    )


def apply_intensity(image_zyx: Tensor, parameters: IntensityParameters) -> Tensor:
    """Apply drawn changes to a normalized patch (z, y, x); the input is not modified."""
    if parameters.noise is not None:
        generator = torch.Generator().manual_seed(parameters.noise_seed)
        image_zyx = torch.randn(image_zyx.shape, generator=generator).mul_(parameters.noise).add_(image_zyx)
    if parameters.blur is not None:
        for axis, sigma in enumerate(parameters.blur):
            image_zyx = _blur(image_zyx, axis, sigma)
    if parameters.brightness is not None:
        image_zyx = image_zyx * parameters.brightness
    if parameters.contrast is not None:
        image_zyx = _contrast(image_zyx, parameters.contrast)
    if parameters.low_resolution is not None:
        image_zyx = _low_resolution(image_zyx, parameters.low_resolution)
    for exponent, inverted in parameters.gamma:
        image_zyx = _gamma(-image_zyx, exponent).neg_() if inverted else _gamma(image_zyx, exponent)
    return image_zyx


def _draw_exponent(rng: np.random.Generator) -> float:
    """An exponent of a gamma curve: half of the curves brighten dark values, half darken them."""
    return float(rng.uniform(0.7, 1.0) if rng.random() < 0.5 else rng.uniform(1.0, 1.5))


def _blur(image_zyx: Tensor, axis: int, sigma: float) -> Tensor:
    """Blur along one axis, up to three sigma; shifted copies are added up, which is faster than a convolution."""
    radius = round(3 * sigma)
    weights = torch.exp(-0.5 * (torch.arange(radius + 1) / sigma) ** 2)
    weights /= weights[0] + 2 * weights[1:].sum()
    length = image_zyx.shape[axis]
    padded = image_zyx.index_select(axis, torch.arange(-radius, length + radius).clamp_(0, length - 1))
    blurred = image_zyx * weights[0]
    for distance, weight in enumerate(weights[1:].tolist(), start=1):
        for start in (radius - distance, radius + distance):
            blurred.add_(padded.narrow(axis, start, length), alpha=weight)
    return blurred


def _contrast(image_zyx: Tensor, factor: float) -> Tensor:
    mean = image_zyx.mean()
    low, high = torch.aminmax(image_zyx)
    return (image_zyx - mean).mul_(factor).add_(mean).clamp_(low, high)


def _low_resolution(image_zyx: Tensor, zoom: float) -> Tensor:
    small = [max(1, round(length * zoom)) for length in image_zyx.shape]
    reduced = functional.interpolate(image_zyx[None, None], size=small, mode="nearest-exact")
    return functional.interpolate(reduced, size=image_zyx.shape, mode="trilinear", align_corners=False)[0, 0]


def _gamma(image_zyx: Tensor, exponent: float) -> Tensor:
    """Gamma curve over the patch's own range; mean and standard deviation are restored."""
    mean, deviation = image_zyx.mean(), image_zyx.std()
    low, high = torch.aminmax(image_zyx)
    extent = (high - low).clamp(min=1e-7)
    curved = (image_zyx - low).div_(extent).pow_(exponent).mul_(extent).add_(low)
    restored = deviation / curved.std().clamp(min=1e-7)
    return curved.sub_(curved.mean()).mul_(restored).add_(mean)
