"""Every way to run a network gives the logits of the network as it was trained."""

import copy
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from flare_infer.backends.cpu import channel_statistics
from flare_infer.backends.device import Compute
from flare_infer.backends.runner import make_runner
from flare_infer.errors import UsageError
from flare_infer.model.architecture import Network
from flare_infer.model.network import Norm, UNet
from flare_infer.model.spec import ModelSpec
from tests.tiny import tiny_spec

CPU = torch.device("cpu")
needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="openvino, an optional extra, is missing")

ANISOTROPIC = Network(
    features=(4, 6, 8),
    kernels=((1, 3, 3), (3, 3, 3), (3, 5, 3)),
    strides=((1, 1, 1), (1, 2, 2), (2, 2, 1)),
    convolutions_encoder=(2, 1, 2),
    convolutions_decoder=(1, 2),
)
SPECS = {"tiny": tiny_spec(), "anisotropic": tiny_spec(network=ANISOTROPIC, patch=(6, 20, 12))}
"""Two networks; the second has odd sizes along z below the top, and different strides along each axis."""


class Residual(nn.Module):
    """A residual block, with the names of parts that nnU-Net's have here."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv3d(4, 6, 3, (1, 2, 2), 1), Norm(6), nn.LeakyReLU(0.01))
        self.second = nn.Sequential(nn.Conv3d(6, 6, 3, 1, 1), Norm(6))
        self.pool = nn.AvgPool3d((1, 2, 2), (1, 2, 2))
        self.projection = nn.Sequential(nn.Conv3d(4, 6, 1, bias=False), Norm(6))
        self.last = nn.LeakyReLU(0.01)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.last(self.second(self.first(inputs)) + self.projection(self.pool(inputs)))
        return outputs


def network_of(spec: ModelSpec) -> UNet:
    """Random weights, and norms that scale and shift."""
    torch.manual_seed(0)
    network = UNet(spec.network, spec.classes).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, Norm):
            module.weight.uniform_(0.5, 2)
            module.bias.normal_()
    return network


def residual_network() -> UNet:
    network = network_of(SPECS["anisotropic"])
    network.encoder[1] = Residual().requires_grad_(False)
    return network


NETWORKS = {
    "tiny": (SPECS["tiny"], network_of(SPECS["tiny"])),
    "anisotropic": (SPECS["anisotropic"], network_of(SPECS["anisotropic"])),
    "residual": (SPECS["anisotropic"], residual_network()),
}


def both(name: str, backend: str, precision: str) -> tuple[Tensor, Tensor]:
    """Logits of two windows: from the network itself in float32, and from the runner."""
    spec, network = NETWORKS[name]
    batch = torch.randn(2, 1, *spec.patch, generator=torch.Generator().manual_seed(1))
    compute = Compute(device=CPU, precision=precision, backend=backend)  # type: ignore[arg-type]
    with torch.inference_mode():
        expected = network(batch)
        run = make_runner(copy.deepcopy(network), spec, compute)
        first = run(batch[:1])
        logits = run(batch)
        torch.testing.assert_close(first, logits[:1])  # nor is what was returned overwritten
    assert logits.dtype == torch.float32
    return logits, expected


@pytest.mark.parametrize("name", NETWORKS)
def test_torch_in_float32_gives_the_same_logits(name: str) -> None:
    logits, expected = both(name, "torch", "fp32")
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_torch_in_bfloat16_is_as_near_as_under_autocast(name: str) -> None:
    spec, network = NETWORKS[name]
    logits, expected = both(name, "torch", "bf16")
    batch = torch.randn(2, 1, *spec.patch, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        autocast = network(batch).float()
    assert (logits - expected).square().mean() < 1.5 * (autocast - expected).square().mean()
    assert not torch.equal(logits, expected)


@needs_openvino
@pytest.mark.parametrize("name", NETWORKS)
def test_openvino_in_float32_is_within_a_hundredth(name: str) -> None:
    logits, expected = both(name, "openvino", "fp32")
    torch.testing.assert_close(logits, expected, atol=1e-2, rtol=0)
    assert logits.abs().max() > 1  # a hundredth is little


@needs_openvino
def test_openvino_in_bfloat16_is_near() -> None:
    logits, expected = both("tiny", "openvino", "bf16")
    assert (logits - expected).square().mean() < 1e-3 * expected.square().mean()


@needs_openvino
def test_a_part_that_openvino_is_not_told_of_is_named() -> None:
    spec, network = NETWORKS["tiny"]
    changed = copy.deepcopy(network)
    changed.heads[0] = nn.Tanh()
    with pytest.raises(UsageError, match=r"Tanh.*--backend torch"):
        make_runner(changed, spec, Compute(device=CPU, precision="fp32", backend="openvino"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_statistics_of_many_voxels_are_not_lost_in_rounding(dtype: torch.dtype) -> None:
    window = torch.randn(1, 4, 32, 96, 96).mul_(0.1).add_(3).to(dtype).contiguous(memory_format=torch.channels_last_3d)
    variance, mean = torch.var_mean(window.double(), dim=(0, 2, 3, 4), correction=0)
    found_mean, found_variance = channel_statistics(window)
    torch.testing.assert_close(found_mean.double(), mean, atol=0, rtol=1e-6)
    torch.testing.assert_close(found_variance.double(), variance, atol=0, rtol=1e-5)


def test_a_window_of_air_does_not_blow_up_in_a_norm() -> None:
    """A constant channel has no deviation, so that whatever its mean is wrong by counts 316 times."""
    window = torch.full((1, 32, 16, 128, 128), -2.3).contiguous(memory_format=torch.channels_last_3d)
    mean, variance = channel_statistics(window)
    normalized = functional.batch_norm(window, mean, variance, eps=Norm.EPSILON)
    assert normalized.abs().max() < 0.02  # 1.3 by torch's own statistics


def test_no_statistics_depend_on_how_voxels_can_be_grouped() -> None:
    window = torch.randn(1, 3, 3, 5, 7).contiguous(memory_format=torch.channels_last_3d)  # 105 voxels: no group at all
    variance, mean = torch.var_mean(window, dim=(0, 2, 3, 4), correction=0)
    found_mean, found_variance = channel_statistics(window)
    torch.testing.assert_close(found_mean, mean)
    torch.testing.assert_close(found_variance, variance)
