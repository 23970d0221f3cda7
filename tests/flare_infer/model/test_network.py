import torch

from flare_infer.model.architecture import Network
from flare_infer.model.network import UNet
from tests.tiny import tiny_spec
from train.recipes.recipe import coarse, lite


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


def test_a_residual_block_by_hand() -> None:
    # Both convolutions silenced: what is left is the shortcut, an average over the stride, projected and normalized.
    network = Network(
        features=(1, 2),
        kernels=((1, 3, 3), (3, 3, 3)),
        strides=((1, 1, 1), (1, 2, 2)),
        convolutions_encoder=(1, 1),
        convolutions_decoder=(1,),
        block="residual",
    )
    block = UNet(network, 2).encoder[1][0]
    for parameter in block.second.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.ones_(block.projection[0].weight)
    batch = torch.tensor([[0.0, 0, 1, 3], [0, 4, 2, 2]]).reshape(1, 1, 1, 2, 4)
    # Averages 1 and 2: normalized -1 and 1 in both features; the leaky ReLU keeps a hundredth of what is below 0.
    torch.testing.assert_close(block(batch).flatten(), torch.tensor([-0.01, 1, -0.01, 1]), atol=1e-3, rtol=0)


def test_a_residual_network_trains_at_every_resolution() -> None:
    network = Network(
        features=(2, 4, 4),
        kernels=((1, 3, 3), (3, 3, 3), (3, 3, 3)),
        strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)),
        convolutions_encoder=(1, 2, 2),
        convolutions_decoder=(1, 2),
        block="residual",
    )
    unet = UNet(network, 3)
    stages = unet.deep_supervision(torch.randn(1, 1, 4, 8, 8))
    assert [tuple(stage.shape[1:]) for stage in stages] == [(3, 4, 8, 8), (3, 4, 4, 4)]
    sum(stage.square().mean() for stage in stages).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is not None for parameter in unet.parameters())
