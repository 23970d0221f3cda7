"""A loaded network to the function that a sliding window calls."""

import torch
from torch import Tensor

from flare_infer.backends.cpu import infer_on_cpu
from flare_infer.backends.device import Compute
from flare_infer.model.ensemble import Run
from flare_infer.model.network import UNet
from flare_infer.model.spec import ModelSpec


def make_runner(network: UNet, spec: ModelSpec, compute: Compute) -> Run:
    """Make a network ready to run as `compute` says; call what is returned under `torch.inference_mode()`.

    It maps (n, channels, *patch), float32 on the device, to logits (n, classes, *patch), float32 there.

    Args:
        network: float32 on `compute.device`; it is changed or consumed, and of no use afterward.
        spec: the model; its patch is the shape of every window.
        compute: device, precision and engine, see `choose_compute`.

    Raises:
        UsageError: if the backend does not know a part of the network.
    """
    if compute.backend == "openvino":
        from flare_infer.backends.openvino import openvino_on_cpu  # optional, and imported only when chosen

        return openvino_on_cpu(network, spec.patch, compute.precision)
    if compute.device.type == "cpu":
        return infer_on_cpu(network, compute.dtype)

    def run(batch_nczyx: Tensor) -> Tensor:
        with torch.autocast(compute.device.type, dtype=compute.dtype, enabled=compute.precision != "fp32"):
            logits: Tensor = network(batch_nczyx)
        return logits.float()

    return run
