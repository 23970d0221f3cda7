"""Normalizing and resampling."""

import pytest
import torch

from flare_infer.errors import SpecError
from flare_infer.geometry import resampled_shape, triple_of_ints, voxel_volume_ml
from flare_infer.segment.preprocess import normalize
from flare_infer.segment.resample import resample_image, resample_labels
from tests.tiny import tiny_spec


def test_normalize_by_hand() -> None:
    normalization = tiny_spec().normalization  # clip to [-200, 300], minus 50, over 100
    given = torch.tensor([-1024.0, 50.0, 150.0, 3000.0, float("nan"), float("inf")])
    assert normalize(given, normalization).tolist() == [-2.5, 0.0, 1.0, 2.5, -2.5, 2.5]
    assert normalization.air == -2.5
    assert given[0] == -1024  # the input is not changed


def test_doubling_a_ramp_keeps_it_a_ramp() -> None:
    ramp = torch.arange(4.0)[None, None].expand(2, 2, 4)
    # voxel centers of the fine grid lie a quarter voxel off those of the coarse one; ends are repeated
    expected = [0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0]
    assert resample_image(ramp, (2, 2, 8))[0, 0].tolist() == expected


def test_labels_take_the_nearest_voxel() -> None:
    labels = torch.tensor([[[0, 3, 7]]], dtype=torch.uint8)
    assert resample_labels(labels, (1, 1, 9))[0, 0].tolist() == [0, 0, 0, 3, 3, 3, 7, 7, 7]
    assert resample_labels(labels, (1, 1, 1)).tolist() == [[[3]]]


def test_shapes_and_volumes() -> None:
    assert resampled_shape((133, 512, 512), (2.5, 0.7, 0.7), (4.0, 4.0, 4.0)) == (83, 90, 90)
    assert resampled_shape((1, 3, 3), (0.1, 1.0, 1.0), (4.0, 4.0, 4.0)) == (1, 1, 1)
    assert voxel_volume_ml((10.0, 10.0, 10.0)) == 1.0
    with pytest.raises(SpecError, match="three numbers"):
        triple_of_ints([1, 2])
