"""The network computed by OpenVINO on a CPU, an optional extra: `pip install 'flare-infer[cpu]'`.

Its graph is built operation by operation from the live network: no tracing, no export, no files.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import openvino
import torch
from openvino import opset13 as operations
from torch import Tensor, nn

from flare_infer.backends.device import Precision
from flare_infer.errors import UsageError
from flare_infer.geometry import Shape
from flare_infer.model.network import Norm, UNet

Node = Any
"""A node of OpenVINO's graph."""

_RESIDUAL_PARTS: Final = {"first", "second", "pool", "projection", "last"}
"""What a residual block is made of: first and second convolution, what goes beside them, and what follows the sum."""

_SPATIAL: Final = np.array([2, 3, 4])
_HINTS: Final[dict[Precision, str]] = {"fp32": "f32", "bf16": "bf16"}


def openvino_on_cpu(network: UNet, patch: Shape, precision: Precision) -> Callable[[Tensor], Tensor]:
    """Compile a network for windows of one shape; it is no longer needed afterward.

    Args:
        network: float32, on the CPU.
        patch: the shape of a window along (z, y, x).
        precision: "fp32" or "bf16"; OpenVINO decides which operations it computes in bf16, norms among them.

    Returns:
        maps (n, channels, *patch), float32, to logits (n, classes, *patch), float32, one window after the other.

    Raises:
        UsageError: if the network has a part that is not known here.
    """
    settings = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = openvino.Core().compile_model(graph(network, patch), "CPU", settings).create_infer_request()

    def run(batch_nczyx: Tensor) -> Tensor:
        logits = []
        for window in torch.split(batch_nczyx.contiguous(), 1):
            request.infer([openvino.Tensor(window.numpy(), shared_memory=True)])
            # A copy: the request writes its next result into the same memory.
            logits.append(torch.from_numpy(request.get_output_tensor(0).data.copy()))
        return logits[0] if len(logits) == 1 else torch.cat(logits)

    return run


def graph(network: UNet, patch: Shape) -> openvino.Model:
    """OpenVINO's graph of a network for one window; it shares the network's weights.

    Raises:
        UsageError: if the network has a part that is not known here.
    """
    first = next(module for module in network.modules() if isinstance(module, nn.Conv3d))
    window = operations.parameter([1, first.in_channels, *patch], np.float32)
    here, skips = _append(network.stem, window), []
    for stage in network.encoder:
        here = _append(stage, here)
        skips.append(here)
    del skips[-1]
    for upward, decoder in zip(reversed(network.upward), reversed(network.decoder), strict=True):
        here = _append(decoder, operations.concat([_append(upward, here), skips.pop()], axis=1))
    return openvino.Model([_append(network.heads[0], here)], [window], "flare")


def _append(module: nn.Module, here: Node) -> Node:
    """The output of a module whose input is `here`."""
    parts = dict(module.named_children())
    match module:
        case nn.Sequential():
            output = here
            for part in parts.values():
                output = _append(part, output)
        case nn.Conv3d() | nn.ConvTranspose3d():
            output = _convolved(module, here)
        case Norm():
            output = operations.mvn(here, operations.constant(_SPATIAL), True, Norm.EPSILON, "inside_sqrt")
            output = operations.multiply(output, _constant(module.weight.reshape(1, -1, 1, 1, 1)))
            output = _plus_bias(output, module.bias)
        case nn.LeakyReLU():
            output = operations.prelu(here, operations.constant(np.array([module.negative_slope], dtype=np.float32)))
        case nn.Identity():
            output = here
        case nn.AvgPool3d():
            size, stride, zero = _triple(module.kernel_size), _triple(module.stride), [0, 0, 0]
            output = operations.avg_pool(here, stride, zero, zero, size, exclude_pad=True)
        case _ if parts.keys() == _RESIDUAL_PARTS:
            through = _append(parts["second"], _append(parts["first"], here))
            beside = _append(parts["projection"], _append(parts["pool"], here))
            output = _append(parts["last"], operations.add(through, beside))
        case _:
            raise UsageError(f"{type(module).__name__}: a part that is not translated to OpenVINO; use --backend torch")
    return output


def _convolved(module: nn.Conv3d | nn.ConvTranspose3d, here: Node) -> Node:
    """A convolution as its padding says, or a transposed one, which has none here."""
    stride, zero = list(module.stride), [0, 0, 0]
    if isinstance(module, nn.ConvTranspose3d):
        output = operations.convolution_backprop_data(
            here, _constant(module.weight), stride, pads_begin=zero, pads_end=zero
        )
    else:
        padding = _triple(module.padding)
        output = operations.convolution(here, _constant(module.weight), stride, padding, padding, list(module.dilation))
    return _plus_bias(output, module.bias)


def _constant(tensor: Tensor) -> Node:
    return operations.constant(tensor.detach().numpy(), shared_memory=True)


def _plus_bias(here: Node, bias: Tensor | None) -> Node:
    return here if bias is None else operations.add(here, _constant(bias.reshape(1, -1, 1, 1, 1)))


def _triple(value: Any) -> list[int]:
    """What torch lets one write as one number or as three."""
    return [value] * 3 if isinstance(value, int) else list(value)
