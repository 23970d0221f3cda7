"""Changes of a patch's intensities, with nnU-Net's parameters (method-facts 13)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class Intensity:
    """Probability of each change; the ranges are nnU-Net's and stand where they are applied."""

    noise: float = 0.1
    blur: float = 0.2
    brightness: float = 0.15
    contrast: float = 0.15
    low_resolution: float = 0.25
    gamma: float = 0.3
    gamma_inverted: float = 0.1


@dataclass(frozen=True, kw_only=True)
class IntensityParameters:
    """One drawn change; None where a change does not happen.

    Attributes:
        noise: standard deviation of Gaussian noise.
        noise_seed: seed of the noise.
        blur: sigma of a Gaussian blur, in voxels.
        brightness: factor on all values.
        contrast: factor on the distance from the mean, range preserved.
        low_resolution: zoom below 1 to which the patch is reduced and brought back.
        gamma: exponents of a gamma curve, in the order they are applied; the flag says whether on the inverted image.
    """

    noise: float | None = None
    noise_seed: int = 0
    blur: float | None = None
    brightness: float | None = None
    contrast: float | None = None
    low_resolution: float | None = None
    gamma: tuple[tuple[float, bool], ...] = ()


def draw_intensity(intensity: Intensity, rng: np.random.Generator) -> IntensityParameters:
    """Draw one change."""

    def maybe(probability: float, low: float, high: float) -> float | None:
        return float(rng.uniform(low, high)) if rng.random() < probability else None

    gamma = []
    if (inverted := maybe(intensity.gamma_inverted, 0.7, 1.5)) is not None:
        gamma.append((inverted, True))
    if (plain := maybe(intensity.gamma, 0.7, 1.5)) is not None:
        gamma.append((plain, False))
    return IntensityParameters(
        noise=maybe(intensity.noise, 0.0, 0.3),
        noise_seed=int(rng.integers(2**31)),
        blur=maybe(intensity.blur, 0.5, 1.0),
        brightness=maybe(intensity.brightness, 0.75, 1.25),
        contrast=maybe(intensity.contrast, 0.75, 1.25),
        low_resolution=maybe(intensity.low_resolution, 0.5, 1.0),
        gamma=tuple(gamma),
    )


def apply_intensity(image_zyx: Tensor, parameters: IntensityParameters) -> Tensor:
    """Apply a drawn change to a normalized patch (z, y, x); the input is not modified."""
    if parameters.noise is not None:
        generator = torch.Generator().manual_seed(parameters.noise_seed)
        image_zyx = image_zyx + torch.randn(image_zyx.shape, generator=generator) * parameters.noise
    if parameters.blur is not None:
        image_zyx = _blur(image_zyx, parameters.blur)
    if parameters.brightness is not None:
        image_zyx = image_zyx * parameters.brightness
    if parameters.contrast is not None:
        image_zyx = _contrast(image_zyx, parameters.contrast)
    if parameters.low_resolution is not None:
        image_zyx = _low_resolution(image_zyx, parameters.low_resolution)
    for exponent, inverted in parameters.gamma:
        image_zyx = -_gamma(-image_zyx, exponent) if inverted else _gamma(image_zyx, exponent)
    return image_zyx


def _blur(image_zyx: Tensor, sigma: float) -> Tensor:
    radius = max(1, round(4 * sigma))
    distance = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (distance / sigma) ** 2)
    kernel = kernel / kernel.sum()
    blurred = image_zyx[None, None]
    for axis in range(3):
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = len(kernel)
        padding = [0, 0, 0, 0, 0, 0]
        padding[2 * (2 - axis)] = padding[2 * (2 - axis) + 1] = radius
        padded = functional.pad(blurred, padding, mode="replicate")
        blurred = functional.conv3d(padded, kernel.reshape(shape))
    return blurred[0, 0]


def _contrast(image_zyx: Tensor, factor: float) -> Tensor:
    mean, low, high = image_zyx.mean(), image_zyx.min(), image_zyx.max()
    return ((image_zyx - mean) * factor + mean).clamp(low, high)


def _low_resolution(image_zyx: Tensor, zoom: float) -> Tensor:
    small = [max(1, round(length * zoom)) for length in image_zyx.shape]
    reduced = functional.interpolate(image_zyx[None, None], size=small, mode="nearest-exact")
    return functional.interpolate(reduced, size=image_zyx.shape, mode="trilinear", align_corners=False)[0, 0]


def _gamma(image_zyx: Tensor, exponent: float) -> Tensor:
    """Gamma curve over the patch's own range; mean and standard deviation are restored."""
    mean, deviation = image_zyx.mean(), image_zyx.std()
    low = image_zyx.min()
    extent = (image_zyx.max() - low).clamp(min=1e-7)
    curved = ((image_zyx - low) / extent) ** exponent * extent + low
    return (curved - curved.mean()) / curved.std().clamp(min=1e-7) * deviation + mean
