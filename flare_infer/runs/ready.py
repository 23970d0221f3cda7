"""From what the user chose of model, device and budgets to a model that is ready to run."""

from dataclasses import dataclass, replace
from pathlib import Path

from flare_infer.backends.cores import use_cores_of_job
from flare_infer.backends.device import choose_compute
from flare_infer.model.model_file import ModelFile, read_model_file
from flare_infer.model.weights import find_weights
from flare_infer.segment.budget import budget_of_mib
from flare_infer.segment.segmenter import Segmenter


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """Which model is to run, and how.

    Attributes:
        weights: folder or name of the model; None for the default.
        device: where the network runs, as the user named it.
        precision: precision of the network, as the user named it.
        backend: engine of the network, as the user named it.
        gpu_budget_mib: bound on GPU memory in MiB; None for what is free.
        ram_budget_mib: bound on the memory of the process in MiB; None for none.
        skipping: whether windows that need not run are skipped.
        with_confidence: whether confidence is measured, for statistics and pages.
    """

    weights: Path | None = None
    device: str = "auto"
    precision: str = "auto"
    backend: str = "auto"
    gpu_budget_mib: int | None = None
    ram_budget_mib: int | None = None
    skipping: bool = True
    with_confidence: bool = False

    def model(self) -> ModelFile:
        """The model that was chosen.

        Raises:
            WeightsError: if there is none.
        """
        return read_model_file(find_weights(self.weights))

    def ready(self, model: ModelFile) -> Segmenter:
        """A model, on its device.

        Raises:
            UsageError: if there is no such device.
            WeightsError: if the weights are damaged.
        """
        compute = choose_compute(self.device, self.precision, self.backend, window_work=model.spec.window_work)
        use_cores_of_job()
        budget = budget_of_mib(self.gpu_budget_mib, self.ram_budget_mib)
        segmenter = Segmenter.of_model(model, compute, budget=budget, skipping=self.skipping)
        return replace(segmenter, with_confidence=self.with_confidence)
