"""A network as an ONNX file: windows to logits; what is around the network, from resampling on, is not in it."""

import json
import logging
import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from flare_infer.errors import MissingExtraError, UsageError, WeightsError
from flare_infer.files.record import fields_to_write
from flare_infer.files.write_whole import whole_file
from flare_infer.model.model_file import SPEC_FILE, read_model_file
from flare_infer.model.weights import networks_of

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDING: Final = ".onnx"
INPUT: Final = "windows"
OUTPUT: Final = "logits"

_WITHIN: Final = 1e-4
"""Of the largest logit: by so much another runtime may differ, which sums in another order."""

_BATCH: Final = 2


@dataclass(frozen=True, kw_only=True)
class OnnxFile:
    """What was written.

    Attributes:
        folds: number of networks whose logits it averages.
        mirror_axes: axes (z, y, x) that `predict` mirrors besides, which the file does not.
        runtime: name of the library that ran it for the proof; empty if none is installed.
        difference: largest absolute difference of its logits from the network's, on random windows.
        largest: largest absolute logit there.
    """

    folds: int
    mirror_axes: tuple[int, ...]
    runtime: str
    difference: float
    largest: float


def export_onnx(weights: Path, file: Path) -> OnnxFile:
    """Write the network of a model, and prove with another runtime, if one is installed, that it is the same.

    Input `windows` is (n, 1, z, y, x), float32, normalized, in the model's patch; output `logits` is (n, classes, z, y,
    x). n is free. The metadata hold model.json.

    Args:
        weights: folder of the model.
        file: the file to write.

    Raises:
        UsageError: if the file is there already, or has another ending.
        MissingExtraError: if a library is missing.
        WeightsError: if the weights cannot be used, or the proof fails; then nothing is written.
    """
    if file.suffix.lower() != ENDING or file.exists():
        raise UsageError(f"{file}: expected a new file that ends in {ENDING}")
    for library in ("onnx", "onnxscript"):
        if find_spec(library) is None:
            raise MissingExtraError(f'export needs {library}: pip install "flare-infer[onnx]"')
    model = read_model_file(weights)
    network = _Mean(networks_of(model, torch.device("cpu"))).eval()
    shape = (_BATCH, 1, *model.spec.patch)
    windows = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    facts = {"format": 1, "sha256": model.sha256, **fields_to_write(model.spec)}
    with whole_file(file, ENDING) as part:
        _write(network, windows, part, {SPEC_FILE: json.dumps(facts), "input": INPUT, "output": OUTPUT})
        with torch.inference_mode():
            expected = network(windows)
        largest = float(expected.abs().max())
        runtime, found = _run(part, windows)
        difference = 0.0 if found is None else float((found - expected).abs().max())
        if not difference <= _WITHIN * largest:
            raise WeightsError(f"{file}: {runtime} computes logits that differ by {difference:.1e}; nothing is written")
    return OnnxFile(
        folds=len(network.networks),
        mirror_axes=tuple(model.spec.mirror_axes),
        runtime=runtime,
        difference=difference,
        largest=largest,
    )


class _Mean(nn.Module):
    """The mean of the logits of several networks."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, batch_nczyx: Tensor) -> Tensor:
        first, *others = self.networks
        total: Tensor = first(batch_nczyx)
        for network in others:
            total = total + network(batch_nczyx)
        return total / len(self.networks) if others else total


def _write(network: nn.Module, windows: Tensor, path: Path, facts: dict[str, str]) -> None:
    with _quiet():
        program = torch.onnx.export(
            network,
            (windows,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={"batch_nczyx": {0: torch.export.Dim("batch")}},
            dynamo=True,
            verbose=False,
        )
        if program is None:
            raise WeightsError("torch made no ONNX program of the network")
        program.model.metadata_props.update(facts)
        program.save(path, external_data=False)


@contextmanager
def _quiet() -> "Iterator[None]":
    """Without what torch says of other packages and of its own future."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _run(path: Path, windows: Tensor) -> tuple[str, Tensor | None]:
    """Name and logits of the first runtime that is installed; an empty name if none is."""
    runtimes: dict[str, Callable[[Path, Any], Any]] = {"onnxruntime": _by_onnxruntime, "openvino": _by_openvino}
    for name, run in runtimes.items():
        if find_spec(name) is not None:
            return name, torch.from_numpy(run(path, windows.numpy()))
    return "", None


def _by_onnxruntime(path: Path, windows: Any) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run([OUTPUT], {INPUT: windows})[0]


def _by_openvino(path: Path, windows: Any) -> Any:
    import openvino

    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled({INPUT: windows})[OUTPUT].copy()
