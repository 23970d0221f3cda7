"""The data-flow sentence: a volume goes in, labels on its own grid come out."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from flare_infer.backends.device import REFERENCE, Compute, choose_compute
from flare_infer.backends.runner import make_runner
from flare_infer.errors import ImageError
from flare_infer.files.hashing import sha256_of_file
from flare_infer.geometry import Box, Shape, triple_of_ints
from flare_infer.labels import TUMOR
from flare_infer.model.ensemble import Run, as_one
from flare_infer.model.model_file import ModelFile, read_model_file
from flare_infer.model.spec import ModelSpec
from flare_infer.model.weights import WEIGHTS_FILE, networks_of
from flare_infer.segment.budget import UNBOUNDED, Budget, Demand, refuse_giant_scan, refuse_giant_windows
from flare_infer.segment.confidence import ConfidenceMeter
from flare_infer.segment.decode import Decoder
from flare_infer.segment.memory_plan import Plan, plan_in_words
from flare_infer.segment.postprocess import ConfidentVoxels, drop_islands
from flare_infer.segment.preprocess import WayBack, preprocess
from flare_infer.segment.sliding import Sweep
from flare_infer.volume.body import Body
from flare_infer.volume.field_of_view import field_of_view, short_scan_doubts
from flare_infer.volume.hounsfield import intensity_doubts
from flare_infer.volume.orient import turn
from flare_infer.volume.volume import Placement, Volume
from flare_infer.volume.voxel_values import VoxelValues


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A scan on the model's grid; the scan itself is no longer needed for its labels.

    Attributes:
        image_zyx: normalized image on the model's grid.
        way_back: steps by which labels return to the box of the scan's own grid that was looked at.
        box: this box; what lies outside is background.
        shape: shape (z, y, x) of the scan's own grid.
        placement: place of that grid in the patient.
        body: the body in that box, turned as the image is; None if nothing is known of it.
        doubts: reasons why the scan looks unlike a CT, a line each, for the user.
        in_hounsfield: whether its intensities look like Hounsfield units; if not, the labels show no more than that.
        scan: the scan itself, if it is kept.
        scan_bytes: memory that it takes meanwhile, in bytes.
    """

    image_zyx: Tensor
    way_back: WayBack
    box: Box
    shape: Shape
    placement: Placement
    body: Body | None = None
    doubts: tuple[str, ...] = ()
    in_hounsfield: bool = True
    scan: Volume | None = None
    scan_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """Labels, and what they cost.

    Attributes:
        labels: codes, uint8, on the scan's own grid.
        windows_ran: windows that the network ran.
        windows: windows of the whole grid, those that needed not run included.
        plan: the sizes it was done with.
        compute: device and precision.
        scan: the scan itself, if it was kept.
        in_hounsfield: whether its intensities look like Hounsfield units.
        confidence: by code, from 0 to 1, of each class that was found; empty if it was not asked for.
        lesion_probabilities: the network's probability at the voxels it took for a lesion; None likewise.
    """

    labels: Volume
    windows_ran: int
    windows: int
    plan: Plan
    compute: Compute
    scan: Volume | None = None
    in_hounsfield: bool = True
    confidence: Mapping[int, float] = field(default_factory=dict)
    lesion_probabilities: VoxelValues | None = None


@dataclass(frozen=True, kw_only=True)
class SegmentationCallbacks:
    """Callbacks for what happens while a scan is segmented.

    Attributes:
        windows: called with (windows done or passed over, windows in all).
        notice: called with a line, and whether it is routine: the plan that was chosen is, that memory ran out is not.
        logits: called with slabs of logits (channels, dz, y, x) on the model's grid, which are overwritten afterwards.
    """

    windows: Callable[[int, int], None] = lambda done, total: None
    notice: Callable[[str, bool], None] = lambda line, routine: None
    logits: Callable[[Tensor], None] = lambda slab_czyx: None


_NO_CALLBACKS = SegmentationCallbacks()


@dataclass(frozen=True, kw_only=True)
class Segmenter:
    """A model ready to run, loaded once for any number of scans.

    Example:
        The shipped model on one CT::

            segmenter = Segmenter.load(find_weights())
            labels = segmenter.segment(read_volume(Path("ct.nii.gz"))).labels

    Attributes:
        spec: specification of the model.
        run: its live network, which maps (n, 1, *patch) to logits (n, classes, *patch).
        compute: device and precision with which it runs.
        weights_bytes: memory of its parameters on the device, in bytes.
        budget: bounds on memory.
        skipping: whether windows that need not run are skipped.
        on_cpu: makes the same model on the CPU, for a scan that the GPU has no memory for; None if there is no other.
        weights_sha256: the hash of the file its parameters came from; empty if they came from none.
        with_confidence: whether it is measured how sure the network is; no label depends on it.
    """

    spec: ModelSpec
    run: Run
    compute: Compute = REFERENCE
    weights_bytes: int = 0
    budget: Budget = UNBOUNDED
    skipping: bool = True
    on_cpu: "Callable[[], Segmenter] | None" = None
    weights_sha256: str = ""
    with_confidence: bool = False

    @classmethod
    def load(
        cls, directory: Path, compute: Compute = REFERENCE, *, budget: Budget = UNBOUNDED, skipping: bool = True
    ) -> Self:
        """Load a weights directory; the other arguments are the attributes of that name.

        Raises:
            SpecError, WeightsError: if the directory cannot be used.
        """
        return cls.of_model(read_model_file(directory), compute, budget=budget, skipping=skipping)

    @classmethod
    def of_model(cls, model: ModelFile, compute: Compute, *, budget: Budget = UNBOUNDED, skipping: bool = True) -> Self:
        """Load the weights beside a model.json that was read already; arguments and errors as for `load`."""
        spec, networks = model.spec, networks_of(model, compute.device)
        refuse_giant_windows(spec)
        numbers = sum(parameter.numel() for network in networks for parameter in network.parameters())
        run = as_one([make_runner(network, spec, compute) for network in networks], spec.mirror_axes)

        def on_cpu() -> Segmenter:
            return cls.of_model(model, choose_compute("cpu"), budget=budget, skipping=skipping)

        return cls(
            spec=spec,
            run=run,
            compute=compute,
            weights_bytes=numbers * compute.dtype.itemsize,
            budget=budget,
            skipping=skipping,
            on_cpu=None if compute.device.type == "cpu" else on_cpu,
            # A recorded hash was just compared with that of the bytes that were loaded.
            weights_sha256=model.sha256 or sha256_of_file(model.directory / WEIGHTS_FILE),
        )

    def segment(self, volume: Volume, callbacks: SegmentationCallbacks = _NO_CALLBACKS) -> Segmentation:
        """Label codes (z, y, x) on exactly the grid of `volume`, a CT in Hounsfield units.

        Raises:
            ImageError: if the scan does not fit into the budget.
        """
        return self.segment_prepared(self.prepare(volume), callbacks)

    def prepare(self, volume: Volume, *, keep: bool = False) -> Prepared:
        """Bring a scan to the model's grid.

        Args:
            volume: the scan.
            keep: whether the scan is kept beside it.

        Raises:
            ImageError: if it would not fit into this machine's memory there.
        """
        turned, reorientation = turn(volume, self.spec.orientation, self.spec.transpose)
        view = field_of_view(turned, self.spec)
        refuse_giant_scan(view.volume, self.spec)
        image_zyx = preprocess(view.volume, self.spec, self.compute.device)
        if view.body is not None:
            view.body.fill_padding(image_zyx, self.spec.normalization.air)
        box = reorientation.undo_box(view.box, turned.shape)
        intensities = intensity_doubts(volume.array_zyx, box, volume.placement.spacing_mm)
        return Prepared(
            image_zyx=image_zyx,
            way_back=WayBack.of(view.volume, reorientation, self.spec),
            box=box,
            shape=volume.shape,
            placement=volume.placement,
            body=view.body,
            doubts=(*volume.doubts, *intensities, *short_scan_doubts(image_zyx.shape[0], self.spec)),
            in_hounsfield=not intensities,
            scan=volume if keep else None,
            scan_bytes=volume.array_zyx.nbytes if keep else 0,
        )

    def segment_prepared(self, scan: Prepared, callbacks: SegmentationCallbacks = _NO_CALLBACKS) -> Segmentation:
        """Windows, decoder and the way back, with the fastest plan that fits the budget.

        If memory runs out all the same, the next smaller plan is tried, at last the CPU; each attempt gets a notice.

        Raises:
            ImageError: if the scan does not fit into the budget, or memory runs out with the smallest plan, too.
        """
        for doubt in scan.doubts:
            callbacks.notice(doubt, False)
        device = self.compute.device
        for plan in self.budget.plans(self._demand(scan), device):
            callbacks.notice(f"plan: {plan_in_words(plan, self.compute)}", True)
            try:
                return self._segment_as_planned(scan, plan, callbacks)
            except torch.OutOfMemoryError as error:
                reason = str(error).partition(".")[0]
            # Outside of the handler, whose traceback holds the tensors of the attempt.
            callbacks.notice(
                f"memory ran out ({reason}) with {plan_in_words(plan, self.compute)}; trying with less", False
            )
            if device.type == "cuda":
                torch.cuda.empty_cache()
        if self.on_cpu is None:
            raise ImageError(
                "memory ran out with the smallest plan, too; close other programs or use a machine with more"
            )
        callbacks.notice("the smallest plan does not fit on the GPU; going on with the CPU", False)
        scan = replace(scan, image_zyx=scan.image_zyx.cpu(), doubts=())
        on_cpu = replace(self.on_cpu(), with_confidence=self.with_confidence)
        return on_cpu.segment_prepared(scan, callbacks)

    def _segment_as_planned(self, scan: Prepared, plan: Plan, callbacks: SegmentationCallbacks) -> Segmentation:
        labels_zyx = np.zeros(scan.shape, dtype=np.uint8)
        seen_zyx = labels_zyx[scan.box]
        turned_zyx = scan.way_back.reorientation.view(seen_zyx)
        decoder = Decoder(
            turned_zyx,
            triple_of_ints(scan.image_zyx.shape),
            self.spec.predicted,
            slab_bytes=plan.slab_bytes,
            nearest_axis=scan.way_back.nearest_axis,
        )
        confident = None
        if self.spec.tumor_lead:
            confident = ConfidentVoxels(self.spec.predicted.index(TUMOR), self.spec.tumor_lead)
        meter = ConfidenceMeter.of(self.spec) if self.with_confidence else None
        watching = [*(one.take for one in (decoder, confident, meter) if one is not None), callbacks.logits]
        sweep = Sweep(scan.image_zyx, self.run, self.spec, plan, skipping=self.skipping)
        with torch.inference_mode():
            for slab_czyx in sweep.slabs(callbacks.windows):
                for take in watching:
                    take(slab_czyx)
        if scan.body is not None:
            scan.body.erase_outside(turned_zyx)
        kept = None if confident is None else scan.way_back.voxels(confident.found(), scan.image_zyx.shape)
        spec = self.spec
        drop_islands(seen_zyx, scan.placement.spacing_mm, spec.smallest_part, spec.tumor_organs, kept)
        labels = Volume(array_zyx=labels_zyx, placement=scan.placement)
        return Segmentation(
            labels=labels,
            windows_ran=sweep.ran,
            windows=sweep.total,
            plan=plan,
            compute=self.compute,
            scan=scan.scan,
            in_hounsfield=scan.in_hounsfield,
            confidence={} if meter is None else meter.by_code(),
            lesion_probabilities=None if meter is None else meter.kept(scan.way_back, scan.image_zyx.shape, scan.box),
        )

    def _demand(self, scan: Prepared) -> Demand:
        return Demand(
            spec=self.spec,
            image_shape=triple_of_ints(scan.image_zyx.shape),
            label_bytes=math.prod(scan.shape) + scan.scan_bytes,
            weights_bytes=self.weights_bytes,
            number_bytes=self.compute.dtype.itemsize,
        )
