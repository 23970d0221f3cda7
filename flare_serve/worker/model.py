"""The model, loaded once for each device."""

from dataclasses import dataclass, replace
from pathlib import Path

from flare_infer.backends.cores import use_cores_of_job
from flare_infer.backends.device import choose_compute
from flare_infer.model.model_file import read_model_file
from flare_infer.model.weights import find_weights
from flare_infer.segment.budget import budget_of_mib
from flare_infer.segment.segmenter import Segmenter


@dataclass(frozen=True)
class ModelOptions:
    """How the model runs; the options of `flare-infer predict`.

    Attributes:
        weights: folder of a model, or its name if it came along; None for the one that predict takes.
        devices: where the network runs; one worker for each.
        precision: auto, fp32, bf16 or fp16.
        backend: auto, torch or openvino.
        gpu_budget_mib: bound on GPU memory, in MiB; None is what is free.
        ram_budget_mib: bound on the memory of the process, in MiB; None is no bound.
        skipping: whether windows that need not run are skipped.
    """

    weights: Path | None = None
    devices: tuple[str, ...] = ("auto",)
    precision: str = "auto"
    backend: str = "auto"
    gpu_budget_mib: int | None = None
    ram_budget_mib: int | None = None
    skipping: bool = True


def load_segmenters(options: ModelOptions) -> list[Segmenter]:
    """The model on each device, as `predict --statistics` has it.

    Raises:
        UsageError: if there is no such model or device, or a name is unknown.
        SpecError, WeightsError: if the model cannot be used.
    """
    model = read_model_file(find_weights(options.weights))
    use_cores_of_job()
    budget = budget_of_mib(options.gpu_budget_mib, options.ram_budget_mib)
    computes = [
        choose_compute(device, options.precision, options.backend, window_work=model.spec.window_work)
        for device in options.devices
    ]
    loaded = [Segmenter.of_model(model, one, budget=budget, skipping=options.skipping) for one in computes]
    return [replace(one, with_confidence=True) for one in loaded]
