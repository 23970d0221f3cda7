"""The data-flow sentence: a volume goes in, labels on its own grid come out."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from flare_infer.budget import UNBOUNDED, Budget, Demand, refuse_giant
from flare_infer.decode import Decoder
from flare_infer.errors import ImageError
from flare_infer.geometry import triple_of_ints
from flare_infer.hounsfield import intensity_doubts
from flare_infer.plan import Plan
from flare_infer.preprocess import WayBack, preprocess
from flare_infer.sliding import Sweep
from flare_infer.spec import ModelSpec
from flare_infer.volume import Placement, Volume
from flare_infer.weights import load_model


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A scan on the model's grid; the scan itself is no longer needed.

    Attributes:
        image_zyx: normalized image on the model's grid.
        way_back: how labels return to the scan's own grid.
        placement: where that grid lies in the patient.
        doubts: what made the scan look unlike a CT, a line each, for the user.
    """

    image_zyx: Tensor
    way_back: WayBack
    placement: Placement
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """Labels, and what they cost.

    Attributes:
        labels: codes, uint8, on the scan's own grid.
        windows_ran: windows that the network ran.
        windows: windows of the whole grid, those that needed not run included.
        plan: the sizes it was done with.
        device: where.
    """

    labels: Volume
    windows_ran: int
    windows: int
    plan: Plan
    device: torch.device


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Who is told what happens while a scan is segmented.

    Attributes:
        windows: called with (windows done or passed over, windows in all).
        notice: called with a line, and whether it is routine: the plan that was chosen is, that memory ran out is not.
    """

    windows: Callable[[int, int], None] = lambda done, total: None
    notice: Callable[[str, bool], None] = lambda line, routine: None


_UNWATCHED = Watch()


@dataclass(frozen=True, kw_only=True)
class Segmenter:
    """A model on a device, loaded once for any number of scans.

    Attributes:
        spec: what the model is.
        network: its live network.
        device: where it runs.
        budget: bounds on memory.
        skipping: whether windows that need not run are passed over.
    """

    spec: ModelSpec
    network: nn.Module
    device: torch.device
    budget: Budget = UNBOUNDED
    skipping: bool = True

    @classmethod
    def load(cls, directory: Path, device: torch.device, *, budget: Budget = UNBOUNDED, skipping: bool = True) -> Self:
        """Load a weights directory; the arguments are the attributes of that name.

        Raises:
            SpecError, WeightsError: if the directory cannot be used.
        """
        spec, network = load_model(directory, device)
        return cls(spec=spec, network=network, device=device, budget=budget, skipping=skipping)

    def segment(self, volume: Volume, watch: Watch = _UNWATCHED) -> Segmentation:
        """Label codes (z, y, x) on exactly the grid of `volume`, a CT in Hounsfield units.

        Raises:
            ImageError: if the scan does not fit into the budget.
        """
        return self.segment_prepared(self.prepare(volume), watch)

    def prepare(self, volume: Volume) -> Prepared:
        """Bring a scan to the model's grid.

        Raises:
            ImageError: if it would not fit into this machine's memory there.
        """
        refuse_giant(volume, self.spec)
        image_zyx, way_back = preprocess(volume, self.spec, self.device)
        doubts = (*volume.doubts, *intensity_doubts(volume.array_zyx))
        return Prepared(image_zyx=image_zyx, way_back=way_back, placement=volume.placement, doubts=doubts)

    def segment_prepared(self, scan: Prepared, watch: Watch = _UNWATCHED) -> Segmentation:
        """Windows, decoder and the way back, with the fastest plan that fits the budget.

        If memory runs out all the same, the next smaller plan is tried, at last the CPU; each attempt is told.

        Raises:
            ImageError: if the scan does not fit into the budget, or memory runs out with the smallest plan, too.
        """
        for doubt in scan.doubts:
            watch.notice(doubt, False)
        for plan in self.budget.plans(self._demand(scan), self.device):
            watch.notice(f"plan: {_in_words(plan, self.device)}", True)
            try:
                return self._segment_as_planned(scan, plan, watch)
            except torch.OutOfMemoryError as error:
                reason = str(error).partition(".")[0]
            # Outside of the handler, whose traceback holds the tensors of the attempt.
            watch.notice(f"memory ran out ({reason}) with {_in_words(plan, self.device)}; trying with less", False)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        if self.device.type == "cpu":
            raise ImageError(
                "memory ran out with the smallest plan, too; close other programs or use a machine with more"
            )
        watch.notice("the smallest plan does not fit on the GPU; going on with the CPU", False)
        cpu = torch.device("cpu")
        on_cpu = replace(self, device=cpu, network=copy.deepcopy(self.network).to(cpu).float())
        return on_cpu.segment_prepared(replace(scan, image_zyx=scan.image_zyx.to(cpu), doubts=()), watch)

    def _segment_as_planned(self, scan: Prepared, plan: Plan, watch: Watch) -> Segmentation:
        labels_zyx = np.empty(scan.way_back.native_shape, dtype=np.uint8)
        decoder = Decoder(
            scan.way_back.reorientation.view(labels_zyx),
            triple_of_ints(scan.image_zyx.shape),
            self.spec.predicted,
            slab_bytes=plan.slab_bytes,
            nearest_axis=scan.way_back.nearest_axis,
        )
        sweep = Sweep(scan.image_zyx, self.network, self.spec, plan, skipping=self.skipping)
        with torch.inference_mode():
            for slab_czyx in sweep.slabs(watch.windows):
                decoder.take(slab_czyx)
        labels = Volume(array_zyx=labels_zyx, placement=scan.placement)
        return Segmentation(labels=labels, windows_ran=sweep.ran, windows=sweep.total, plan=plan, device=self.device)

    def _demand(self, scan: Prepared) -> Demand:
        return Demand(
            spec=self.spec,
            image_shape=triple_of_ints(scan.image_zyx.shape),
            label_bytes=math.prod(scan.way_back.native_shape),
            weights_bytes=sum(tensor.numel() * tensor.element_size() for tensor in self.network.parameters()),
        )


def _in_words(plan: Plan, device: torch.device) -> str:
    ring = str(plan.ring_type).removeprefix("torch.")
    return f"{device}, {plan.batch} window(s) at once, ring in {ring}, decoder slabs of {plan.slab_bytes / 2**20:g} MiB"
