import torch

from flare_infer.network import UNet
from tests.tiny import tiny_spec
from train.recipes import coarse, lite


def test_the_papers_network_has_31_million_parameters() -> None:
    spec = coarse().spec
    with torch.device("meta"):
        network = UNet(spec.network, spec.classes)
    assert sum(parameter.numel() for parameter in network.parameters()) == 31_206_059


def test_inference_is_the_full_resolution_stage_of_deep_supervision() -> None:
    torch.manual_seed(0)
    spec = lite().spec
    network = UNet(spec.network, spec.classes)
    batch = torch.randn(1, 1, 16, 32, 48)
    with torch.inference_mode():
        stages = network.deep_supervision(batch)
        torch.testing.assert_close(network(batch), stages[0])
    assert [tuple(stage.shape[2:]) for stage in stages] == [(16, 32, 48), (8, 16, 24), (4, 8, 12), (2, 4, 6)]


def test_norm_is_computed_in_float32_under_autocast() -> None:
    network = UNet(tiny_spec().network, 15)
    seen = []
    network.encoder[0][1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        network(torch.randn(1, 1, 8, 8, 8) * 1e-3 + 100)  # a nearly constant patch
    # Zero mean and unit deviation for every channel: bfloat16 sums of values near 100 would not give that.
    flat = seen[0].float().flatten(2)
    torch.testing.assert_close(flat.mean(dim=2), torch.zeros(1, 4), atol=2e-2, rtol=0)
