"""The data-flow sentence: a volume goes in, labels on its own grid come out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from flare_infer.network import UNet
from flare_infer.preprocess import preprocess, restore
from flare_infer.sliding import sliding_logits
from flare_infer.spec import ModelSpec
from flare_infer.volume import Volume
from flare_infer.weights import load_model


@dataclass(frozen=True, kw_only=True)
class Segmenter:
    """A model on a device, loaded once for any number of scans.

    Attributes:
        spec: what the model is.
        network: its live network.
        device: where it runs.
    """

    spec: ModelSpec
    network: UNet
    device: torch.device

    @classmethod
    def load(cls, directory: Path, device: torch.device) -> Self:
        """Load a weights directory.

        Raises:
            SpecError, WeightsError: if the directory cannot be used.
        """
        spec, network = load_model(directory, device)
        return cls(spec=spec, network=network, device=device)

    def segment(
        self, volume: Volume, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> npt.NDArray[np.uint8]:
        """Label codes (z, y, x) on exactly the grid of `volume`, a CT in Hounsfield units.

        Args:
            volume: the scan, in any orientation and spacing.
            progress: called with (windows done, windows in all).
        """
        image_zyx, way_back = preprocess(volume, self.spec, self.device)
        logits_czyx = sliding_logits(
            image_zyx,
            self.network,
            classes=self.spec.classes,
            patch=self.spec.patch,
            step=self.spec.window_step,
            fill=self.spec.normalization.air,
            progress=progress,
        )
        return restore(logits_czyx, self.spec, way_back)
