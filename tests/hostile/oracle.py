"""A model on disk, of ordinary weights, whose labels are known: what is brighter than its window's mean is 1.

Instance norm takes the mean of a window away, so nothing absolute can pass through the network. In a window that holds
air and tissue, all tissue is above the mean and all air below. Most scans are much smaller than the window and
surrounded by air: there whatever the model's clipping does not take for air (-200 HU and less) is tissue.
"""

from pathlib import Path

import torch
from torch import nn

from flare_infer.model.network import Norm, UNet
from flare_infer.model.spec import Network
from flare_infer.model.weights import save_model
from tests.hostile.kind import SPACING_MM
from tests.tiny import pointwise_spec

PATCH = (8, 64, 64)


def write_oracle(folder: Path) -> None:
    """Write the weights directory."""
    network = Network(
        features=(2, 2),
        kernels=((1, 1, 1), (1, 1, 1)),
        strides=((1, 1, 1), (2, 2, 2)),
        convolutions_encoder=(1, 1),
        convolutions_decoder=(1,),
    )
    # Air above and below a scan shorter than a window is what its tissue is brighter than.
    spec = pointwise_spec(2, PATCH, spacing_mm=SPACING_MM, network=network, repeated_mm=0.0)
    unet = UNet(network, spec.classes)
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.zero_()
        for module in unet.modules():
            if isinstance(module, Norm):
                module.weight.fill_(1)
        # Leaky rectifiers keep n and -n apart, so that their difference is linear in n again.
        _weight(unet.encoder[0])[:, 0] = torch.tensor([1.0, -1.0])
        _weight(unet.decoder[0])[:, 2:] = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
        unet.heads[0].weight[:, :, 0, 0, 0] = torch.tensor([[-1.0, 1.0], [1.0, -1.0]])  # type: ignore[union-attr, index, operator]
    save_model(folder, spec, unet)


def _weight(stage: nn.Module) -> torch.Tensor:
    """Weights (to, from) of a stage's first convolution, which is pointwise."""
    convolution = stage[0]  # type: ignore[index]
    assert isinstance(convolution, nn.Conv3d)
    return convolution.weight[:, :, 0, 0, 0]
