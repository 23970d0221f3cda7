"""On what a model runs and in which arithmetic, decided once."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final, Literal, TypeAlias, TypeVar, get_args

import torch

from flare_infer.errors import UsageError

AUTO: Final = "auto"

Precision: TypeAlias = Literal["fp32", "bf16", "fp16"]
"""Of convolutions and activations; the statistics of norms and the blending of windows are always float32."""

Backend: TypeAlias = Literal["torch", "openvino"]
"""Who computes the network."""

_Name = TypeVar("_Name", bound=str)

WORTH_OPENVINO: Final = 10**10
"""Work of a window from which OpenVINO pays: it is 8 % faster in bf16 and 12 % in fp32 with the paper's coarse network
(3e10), and takes 0.4 s longer to start. For a small network like `lite` (2e9) that is never won back."""

_TYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Where and how the network is computed.

    Attributes:
        device: device on which the network runs and its tensors lie.
        precision: precision of convolutions and activations.
        backend: who computes the network.
    """

    device: torch.device
    precision: Precision
    backend: Backend

    @property
    def dtype(self) -> torch.dtype:
        """The precision as torch names it."""
        return _TYPES[self.precision]


REFERENCE: Final = Compute(device=torch.device("cpu"), precision="fp32", backend="torch")
"""What every other way is compared with."""


def choose_compute(device: str = AUTO, precision: str = AUTO, backend: str = AUTO, *, window_work: int = 0) -> Compute:
    """Fill in what is left to `auto`, and check the rest.

    On a CPU `auto` is bf16 where the hardware computes with it, otherwise fp32; on CUDA fp16, whose numbers are finer
    than bf16's and which every CUDA device of the last years has (not measured). The backend `auto` is OpenVINO on a
    CPU where it is installed and a window is work enough to pay for its start, otherwise torch
    (benchmarks/results/forward.md).

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision: `auto` or one of `Precision`.
        backend: `auto` or one of `Backend`.
        window_work: work of one window of the model that will run, see `ModelSpec.window_work`.

    Raises:
        UsageError: if a name is unknown, the device is not there, the device cannot do what is asked, or OpenVINO is
            not installed.
    """
    chosen = choose_device(device)
    cpu = chosen.type == "cpu"
    if precision == AUTO:
        precision = ("bf16" if computes_bfloat16() else "fp32") if cpu else "fp16"
    known_precision = _known(precision, get_args(Precision), "precision")
    installed = find_spec("openvino") is not None
    if backend == AUTO:
        backend = "openvino" if cpu and installed and window_work >= WORTH_OPENVINO else "torch"
    known_backend = _known(backend, get_args(Backend), "backend")
    if cpu and precision == "fp16":
        raise UsageError("precision 'fp16' is for CUDA; use auto, fp32 or bf16 on a CPU")
    if backend == "openvino" and not cpu:
        raise UsageError(f"backend 'openvino' runs on the CPU, not on {chosen}; use --device cpu or --backend torch")
    if backend == "openvino" and not installed:
        raise UsageError("backend 'openvino' is not installed; use pip install 'flare-infer[cpu]' or --backend torch")
    return Compute(device=chosen, precision=known_precision, backend=known_backend)


def _known(name: str, names: tuple[_Name, ...], what: str) -> _Name:
    for known in names:
        if known == name:
            return known
    raise UsageError(f"{what} {name!r} is unknown; use {', '.join((AUTO, *names))}")


def choose_device(name: str = AUTO) -> torch.device:
    """The device of that name; `auto` is CUDA where there is one, otherwise the CPU.

    Raises:
        UsageError: if the name is unknown or the device is not there.
    """
    if name == AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"device {name!r} is unknown; use auto, cpu, cuda or cuda:N") from error
    if device.type not in {"cpu", "cuda"}:
        raise UsageError(f"device {name!r} is not supported; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {name!r} is not there: {torch.cuda.device_count()} CUDA device(s) found; use cpu")
    return device


def computes_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16; without them it would only be emulated, slowly."""
    return bool(torch.cpu._is_avx512_bf16_supported())


def autocast_type(device: torch.device) -> torch.dtype | None:
    """The half precision to train in on a device: bfloat16 where the hardware computes with it.

    Otherwise float16 on CUDA, whose gradients need a scale of the loss, and None on a CPU.
    """
    if device.type == "cuda":
        # Emulated it would be slower than float32.
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if computes_bfloat16() else None
