"""Changes of intensity against SciPy and against nnU-Net's distributions."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from flare_infer.errors import SpecError
from train.augment.intensity import IntensityAugmentation, IntensityParameters, apply_intensity, draw_intensity
from train.recipes.recipe import coarse, fine, lite

ALWAYS = IntensityAugmentation(noise=1, blur=1, brightness=1, contrast=1, low_resolution=1, gamma=1, gamma_inverted=1)


def test_a_blur_is_scipys_with_a_sigma_for_each_axis() -> None:
    image = torch.randn(7, 20, 18, generator=torch.Generator().manual_seed(0))
    sigmas = (0.5, 0.75, 1.0)
    expected = image.numpy()
    for axis, sigma in enumerate(sigmas):
        expected = ndimage.gaussian_filter1d(expected, sigma, axis, mode="nearest", radius=round(3 * sigma))
    blurred = apply_intensity(image, IntensityParameters(blur=sigmas))
    np.testing.assert_allclose(blurred.numpy(), expected, atol=1e-5)


def test_draws_are_distributed_like_nnunets() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_intensity(ALWAYS, rng) for _ in range(3000)]
    exponents = np.array([exponent for parameters in drawn for exponent, _ in parameters.gamma])
    assert exponents.min() >= 0.7
    assert exponents.max() <= 1.5
    assert np.mean(exponents < 1) == pytest.approx(0.5, abs=0.02), "half brighten, half darken"
    sigmas = np.array([parameters.blur for parameters in drawn])
    assert sigmas.min() >= 0.5
    assert sigmas.max() <= 1.0
    assert abs(np.corrcoef(sigmas[:, 0], sigmas[:, 1])[0, 1]) < 0.1, "each axis by itself"
    for name, low, high in (("brightness", 0.75, 1.25), ("contrast", 0.75, 1.25), ("low_resolution", 0.5, 1.0)):
        values = np.array([getattr(parameters, name) for parameters in drawn])
        assert low <= values.min()
        assert values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.01)
    assert all([inverted for _, inverted in parameters.gamma] == [True, False] for parameters in drawn)


def test_changes_happen_as_often_as_asked() -> None:
    rng = np.random.default_rng(1)
    asked = coarse().augmentation.intensity
    drawn = [draw_intensity(asked, rng) for _ in range(4000)]
    for name in ("noise", "blur", "brightness", "contrast", "low_resolution"):
        share = np.mean([getattr(parameters, name) is not None for parameters in drawn])
        assert share == pytest.approx(getattr(asked, name), abs=0.02)
    flags = [[inverted for _, inverted in parameters.gamma] for parameters in drawn]
    assert np.mean([True in each for each in flags]) == pytest.approx(asked.gamma_inverted, abs=0.02)
    assert np.mean([False in each for each in flags]) == pytest.approx(asked.gamma, abs=0.02)


def test_the_papers_recipes_have_nnunets_numbers_for_one_channel() -> None:
    for recipe in (coarse(), fine()):
        intensity = recipe.augmentation.intensity
        assert (intensity.noise, intensity.noise_deviation) == (0.1, 0.1)
        # 0.2 and 0.25, of which a channel is changed half of the times
        assert (intensity.blur, intensity.low_resolution) == (0.2 * 0.5, 0.25 * 0.5)
        assert (intensity.brightness, intensity.contrast) == (0.15, 0.15)
        assert (intensity.gamma, intensity.gamma_inverted) == (0.3, 0.1)
    assert lite().augmentation.intensity.noise_deviation == 0.3, "as the shipped weights were trained"


def test_the_patch_that_is_changed_stays_as_it_is() -> None:
    image = torch.randn(6, 7, 8, generator=torch.Generator().manual_seed(0))
    before = image.clone()
    parameters = draw_intensity(ALWAYS, np.random.default_rng(0))
    for values in (vars(parameters), *({name: value} for name, value in vars(parameters).items())):
        apply_intensity(image, IntensityParameters(**values))
        assert torch.equal(image, before)


def test_a_constant_patch_stays_finite() -> None:
    for value in (0.0, -2.5):
        changed = apply_intensity(torch.full((5, 6, 7), value), draw_intensity(ALWAYS, np.random.default_rng(0)))
        assert changed.isfinite().all()


@pytest.mark.parametrize("field", [{"blur": 1.1}, {"gamma": -0.1}, {"noise_deviation": -1.0}], ids=str)
def test_what_cannot_be_is_refused(field: dict[str, float]) -> None:
    with pytest.raises(SpecError, match="intensity needs"):
        IntensityAugmentation(**field)
