"""On what a model runs, decided once."""

from typing import Final

import torch

from flare_infer.errors import UsageError

AUTO: Final = "auto"


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


def autocast_type(device: torch.device) -> torch.dtype | None:
    """The half precision to train in on a device: bfloat16 where the hardware computes with it, otherwise None."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else None
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else None
