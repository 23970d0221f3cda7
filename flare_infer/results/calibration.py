"""From a network's confidence to the Dice coefficient that outlines of such confidence had in other patients."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

_NEAREST: Final = 1e-6
"""So near 0 and 1 the logarithm of the odds ends."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Expected DSC = s(offset + slope * log(c / (1 - c))) of a confidence c, with the logistic function s.

    Attributes:
        offset: see there.
        slope: likewise; positive, so that the order of outlines stays.
    """

    offset: float
    slope: float

    def many(self, confidence: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The expected DSC of each of some confidences from 0 to 1."""
        within = np.clip(confidence, _NEAREST, 1 - _NEAREST)
        exponent = self.offset + self.slope * np.log(within / (1 - within))
        return np.asarray(1 / (1 + np.exp(-np.clip(exponent, -500, 500))))

    def one(self, confidence: float) -> float:
        """The expected DSC of one confidence."""
        return float(self.many(np.array([confidence], dtype=np.float64))[0])


_FITTED: Final[Mapping[str, Calibration]] = {
    "32f596210fa556d0206c5f189959596e4669eab05e29d8422587a5f0a276d8d5": Calibration(offset=-3.471, slope=1.661),
}
"""By SHA-256 of the weights; how it was found is in benchmarks/results/confidence.md."""


def calibration_of(weights_sha256: str) -> Calibration | None:
    """The calibration of some weights, if one was fitted."""
    return _FITTED.get(weights_sha256)
