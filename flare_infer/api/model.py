"""Load a model and segment scans with it, from Python: nothing is printed, notices are part of the result."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from flare_infer.api.result import Result
from flare_infer.api.scans import OpenScan, ScanInput, open_scan
from flare_infer.backends.cores import use_cores_of_job
from flare_infer.backends.device import choose_compute
from flare_infer.errors import FlareError, ImageError, UsageError, ran_out_of_memory
from flare_infer.model.model_file import read_model_file
from flare_infer.model.weights import find_weights
from flare_infer.results.case import SegmentedCase
from flare_infer.runs.identity import made_with
from flare_infer.segment.budget import budget_of_mib
from flare_infer.segment.segmenter import Segmentation, SegmentationCallbacks, Segmenter
from flare_infer.volume.sides import side_doubts

Progress: TypeAlias = bool | Callable[[int, int], None]
"""Whether a bar is drawn on standard error; or a callback, called with (windows done, windows in all)."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Model:
    """A model that is loaded once for any number of scans.

    Attributes:
        segmenter: the model, ready to run.
    """

    segmenter: Segmenter

    def __repr__(self) -> str:
        return f"<Model {self.name} on {self.segmenter.compute.device}>"

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.segmenter.spec.name

    @property
    def names(self) -> Mapping[int, str]:
        """Name of each class that it can find, by code; background left out."""
        return {code: self.segmenter.spec.labels[code] for code in self.segmenter.spec.predicted if code}

    def segment(
        self,
        scan: ScanInput,
        *,
        series: str | None = None,
        fill_gaps: bool = False,
        progress: Progress = False,
    ) -> Result:
        """Segment a scan, as `flare-infer predict` does.

        Args:
            scan: a path (image file, DICOM folder, one DICOM file of a series, zip archive), an image of SimpleITK, or
                (array, spacing, origin, direction), see `ArrayScan`.
            series: which DICOM series, if there are several: `largest`, a SeriesInstanceUID, or the name of a case.
            fill_gaps: whether one missing slice of a DICOM series is interpolated.
            progress: whether a bar is drawn on standard error; or a callback, called with (windows done, windows in
                all).

        Raises:
            UsageError: if there is no scan, or more than one.
            ImageError: if the scan cannot be used.
            MissingExtraError: if it is DICOM, and pydicom is not installed.
        """
        with open_scan(scan, series, fill_gaps=fill_gaps) as opened, _shown(progress) as windows:
            notices: list[str] = list(opened.notes)
            return Result(case=self._case(opened, notices, windows), predicted=self.segmenter.spec.predicted)

    def _case(self, scan: OpenScan, notices: list[str], windows: Callable[[int, int], None]) -> SegmentedCase:
        spec = self.segmenter.spec

        def notice(line: str, routine: bool) -> None:
            if not routine:
                notices.append(line)

        try:
            prepared = self.segmenter.prepare(scan.volume, keep=True)
            done: Segmentation = self.segmenter.segment_prepared(
                prepared, SegmentationCallbacks(windows=windows, notice=notice)
            )
        except FlareError as error:
            raise type(error)(f"{scan.name}: {error}") from error
        except (RuntimeError, MemoryError) as error:
            if not ran_out_of_memory(error):
                raise
            raise ImageError(
                f"{scan.name}: memory ran out ({error}); close other programs, or bound it with ram_budget_mib"
            ) from error
        if prepared.in_hounsfield:
            notices += side_doubts(done.labels, spec.labels)
        return SegmentedCase(
            name=scan.name,
            scan=scan.volume,
            labels=done.labels,
            names=spec.labels,
            notices=tuple(notices),
            in_hounsfield=prepared.in_hounsfield,
            source=scan.source,
            made_with=made_with(self.segmenter),
            confidence=done.confidence,
            spec=spec,
            lesion_probabilities=done.lesion_probabilities,
        )


def load(
    weights: str | os.PathLike[str] | None = None,
    *,
    device: str = "auto",
    precision: str = "auto",
    backend: str = "auto",
    gpu_budget_mib: int | None = None,
    ram_budget_mib: int | None = None,
    skip: bool = True,
) -> Model:
    """Load a model; the arguments are the options of `flare-infer predict`.

    Torch is told to compute in no more threads than the job has cores, unless OMP_NUM_THREADS is set.

    Args:
        weights: folder of a model, or its name if it came along; None takes what FLARE_WEIGHTS names, else the model
            that came along.
        device: where the network runs: auto, cpu, cuda or cuda:N.
        precision: auto, fp32, bf16 or fp16.
        backend: auto, torch or openvino (on a CPU).
        gpu_budget_mib: bound on GPU memory, in MiB; None is what is free.
        ram_budget_mib: bound on the memory of the process, in MiB; None is no bound.
        skip: whether windows of air and windows without organs are passed over.

    Raises:
        UsageError: if there is no such model or device, a name is unknown, or a bound is no number above 0.
        SpecError, WeightsError: if the model cannot be used.
    """
    for name, bound in (("gpu_budget_mib", gpu_budget_mib), ("ram_budget_mib", ram_budget_mib)):
        if bound is not None and not (isinstance(bound, int | float) and bound > 0):
            raise UsageError(f"{name}: expected a number of MiB above 0, or None for no bound, found {bound!r}")
    model = read_model_file(find_weights(None if weights is None else Path(weights)))
    compute = choose_compute(device, precision, backend, window_work=model.spec.window_work)
    use_cores_of_job()
    budget = budget_of_mib(gpu_budget_mib, ram_budget_mib)
    segmenter = Segmenter.of_model(model, compute, budget=budget, skipping=skip)
    return Model(segmenter=replace(segmenter, with_confidence=True))


def segment(
    scan: ScanInput,
    *,
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    series: str | None = None,
    fill_gaps: bool = False,
    progress: Progress = False,
) -> Result:
    """Load a model and segment one scan; for several scans, `load` it once and use `Model.segment`.

    Arguments and errors are those of `load` and `Model.segment`.
    """
    return load(weights, device=device).segment(scan, series=series, fill_gaps=fill_gaps, progress=progress)


@contextmanager
def _shown(progress: Progress) -> Iterator[Callable[[int, int], None]]:
    """The callback for windows: none, that of the caller, or one that draws a bar."""
    if not isinstance(progress, bool):
        yield progress
        return
    if not progress:
        yield lambda done, total: None
        return
    from flare_infer.shell.progress import Progress as Bars

    with Bars(transient=True) as shown:
        task = shown.bars.add_task("segmenting", total=None)
        yield lambda done, total: shown.bars.update(task, completed=done, total=total)
