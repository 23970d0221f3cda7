"""The transforms of a batch at once, as they would run on the compute device: measured, and not used in training.

Drawn parameters are those of `train.augment`. Of a batch, each transform changes the samples that it was drawn for.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from flare_infer.geometry import Shape, Spacing
from train.augment.intensity import IntensityParameters
from train.augment.spatial import SpatialParameters, matrix_mm


def spatial(
    images_nzyx: Tensor, labels_nzyx: Tensor, drawn: Sequence[SpatialParameters], size: Shape, spacing_mm: Spacing
) -> tuple[Tensor, Tensor]:
    """The middle of pieces that are large enough, turned, scaled and mirrored."""
    box = tuple(slice((most - length) // 2, (most - length) // 2 + length) for most, length in _axes(images_nzyx, size))
    images, labels = images_nzyx[:, *box].clone(), labels_nzyx[:, *box].clone()
    which = [number for number, parameters in enumerate(drawn) if not parameters.keeps_shape]
    if which:
        ratio = torch.tensor([length / most for most, length in _axes(images_nzyx, size)]).to(images.device)
        spacing = torch.tensor(spacing_mm)
        matrices = torch.stack([matrix_mm(drawn[n]) * spacing / spacing[:, None] for n in which]).to(images.device)
        extent = torch.tensor([float(length) for length in size]).to(images.device)
        theta = torch.zeros(len(which), 3, 4, device=images.device)
        theta[:, :, :3] = (matrices * extent / extent[:, None]).flip(1, 2)
        grid = functional.affine_grid(theta, [len(which), 1, *size], align_corners=False) * ratio.flip(0)
        turned = functional.grid_sample(images_nzyx[which][:, None], grid, align_corners=False)
        images[which] = turned[:, 0]
        codes = labels_nzyx[which][:, None].float()
        labels[which] = functional.grid_sample(codes, grid, mode="nearest", align_corners=False)[:, 0].to(labels.dtype)
    for number, parameters in enumerate(drawn):
        if parameters.mirrored:
            images[number] = images[number].flip(parameters.mirrored)
            labels[number] = labels[number].flip(parameters.mirrored)
    return images, labels


def intensity(images_nzyx: Tensor, drawn: Sequence[IntensityParameters]) -> Tensor:
    """All changes of intensity, in the order of `train.augment.intensity`; the input is changed."""
    if which := _having(drawn, "noise"):
        noise = torch.randn(len(which), *images_nzyx.shape[1:], device=images_nzyx.device)
        images_nzyx[which] += noise * _column([drawn[n].noise or 0.0 for n in which], images_nzyx)
    if which := _having(drawn, "blur"):
        images_nzyx[which] = _blurred(images_nzyx[which], [drawn[n].blur or (1.0, 1.0, 1.0) for n in which])
    if which := _having(drawn, "brightness"):
        images_nzyx[which] *= _column([drawn[n].brightness or 1.0 for n in which], images_nzyx)
    if which := _having(drawn, "contrast"):
        chosen = images_nzyx[which]
        mean, low, high = chosen.mean((1, 2, 3), True), chosen.amin((1, 2, 3), True), chosen.amax((1, 2, 3), True)
        factor = _column([drawn[n].contrast or 1.0 for n in which], chosen)
        images_nzyx[which] = torch.clamp((chosen - mean) * factor + mean, low, high)
    for n in _having(drawn, "low_resolution"):
        small = [round(length * (drawn[n].low_resolution or 1.0)) for length in images_nzyx.shape[1:]]
        reduced = functional.interpolate(images_nzyx[n][None, None], size=small, mode="nearest-exact")
        images_nzyx[n] = functional.interpolate(reduced, size=images_nzyx.shape[1:], mode="trilinear")[0, 0]
    for inverted in (True, False):
        which = [n for n, parameters in enumerate(drawn) if inverted in [flag for _, flag in parameters.gamma]]
        if which:
            exponents = [{flag: exponent for exponent, flag in drawn[n].gamma}[inverted] for n in which]
            sign = -1.0 if inverted else 1.0
            images_nzyx[which] = sign * _gamma(sign * images_nzyx[which], _column(exponents, images_nzyx))
    return images_nzyx


def _axes(images_nzyx: Tensor, size: Shape) -> list[tuple[int, int]]:
    return list(zip(images_nzyx.shape[1:], size, strict=True))


def _having(drawn: Sequence[IntensityParameters], name: str) -> list[int]:
    return [number for number, parameters in enumerate(drawn) if getattr(parameters, name) is not None]


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device)[:, None, None, None]


def _blurred(chosen: Tensor, sigmas: Sequence[tuple[float, float, float]]) -> Tensor:
    """Every sample a group of its own in a convolution along each axis."""
    radius, count = 3, len(chosen)
    distance = torch.arange(-radius, radius + 1, device=chosen.device)
    for axis in range(3):
        sigma = torch.tensor([each[axis] for each in sigmas], device=chosen.device)[:, None]
        kernel = torch.exp(-0.5 * (distance / sigma) ** 2) * (distance.abs() <= torch.round(3 * sigma))
        shape = [count, 1, 1, 1, 1]
        shape[2 + axis] = 2 * radius + 1
        padding = [0] * 6
        padding[2 * (2 - axis)] = padding[2 * (2 - axis) + 1] = radius
        padded = functional.pad(chosen[None], padding, mode="replicate")
        chosen = functional.conv3d(padded, (kernel / kernel.sum(1, True)).reshape(shape), groups=count)[0]
    return chosen


def _gamma(chosen: Tensor, exponents: Tensor) -> Tensor:
    over = (1, 2, 3)
    mean, deviation, low = chosen.mean(over, True), chosen.std(over, keepdim=True), chosen.amin(over, True)
    extent = (chosen.amax(over, True) - low).clamp(min=1e-7)
    curved = ((chosen - low) / extent) ** exponents * extent + low
    return (curved - curved.mean(over, True)) / curved.std(over, keepdim=True).clamp(min=1e-7) * deviation + mean
