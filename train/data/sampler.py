"""Which case and which place the next patch comes from.

Randomness is counter-based: a patch is a function of seed, step and index in the batch, so a resumed run or another
number of workers draws the same.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flare_infer.errors import SpecError
from flare_infer.geometry import Shape
from train.data.store import PreparedCase


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How patches are drawn.

    Attributes:
        foreground: probability that a patch is centered about an annotated class (0.7, Table 2 of the paper).
        balance: a class is drawn with probability proportional to (number of cases that hold it) ** balance: 1 follows
            the cases, 0 draws all classes alike; between them, rare classes are seen often without a single case
            being repeated all the time.
        jitter: the drawn voxel lies at most this fraction of the patch off its center.
    """

    foreground: float = 0.7
    balance: float = 1.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.foreground <= 1 or not 0 <= self.jitter <= 0.5:
            raise SpecError(f"sampling needs foreground in [0, 1] and jitter in [0, 0.5], found {self}")


@dataclass(frozen=True, kw_only=True)
class PatchCenter:
    """Where a patch is taken.

    Attributes:
        case: the prepared case.
        voxel: its center in voxels (z, y, x).
        code: the class it was drawn for, 0 if it was drawn anywhere.
    """

    case: PreparedCase
    voxel: tuple[float, float, float]
    code: int


def sample_generator(seed: int, step: int, index: int) -> np.random.Generator:
    """The generator of one sample."""
    return np.random.default_rng((seed, step, index))


class CenterSampler:
    """Draws patch centers from a set of prepared cases.

    Args:
        cases: at least one.
        sampling: the rules.
        patch: patch size in voxels.
    """

    def __init__(self, cases: list[PreparedCase], sampling: Sampling, patch: Shape) -> None:
        self._cases = cases
        self._sampling = sampling
        self._patch = np.asarray(patch)
        self._holders: dict[int, list[PreparedCase]] = {}
        for case in cases:
            for code in case.locations:
                self._holders.setdefault(code, []).append(case)
        self._codes = sorted(self._holders)
        counts = np.asarray([len(self._holders[code]) for code in self._codes], dtype=np.float64)
        self._probabilities = counts**sampling.balance / np.sum(counts**sampling.balance)

    def draw(self, rng: np.random.Generator) -> PatchCenter:
        """One center; a set of cases without any foreground gives random places."""
        if self._codes and rng.random() < self._sampling.foreground:
            code = int(rng.choice(self._codes, p=self._probabilities))
            holders = self._holders[code]
            case = holders[rng.integers(len(holders))]
            voxel = case.locations[code][rng.integers(len(case.locations[code]))].astype(np.float64)
            voxel += (rng.random(3) * 2 - 1) * self._sampling.jitter * self._patch
            return PatchCenter(case=case, voxel=self._inside(voxel, case), code=code)
        case = self._cases[rng.integers(len(self._cases))]
        anywhere = rng.random(3) * np.asarray(case.shape)
        return PatchCenter(case=case, voxel=self._inside(anywhere, case), code=0)

    def _inside(self, voxel: npt.NDArray[np.float64], case: PreparedCase) -> tuple[float, float, float]:
        """The nearest center whose patch stays inside the case; the middle of an axis shorter than the patch."""
        lengths = np.asarray(case.shape)
        half = np.minimum((self._patch - 1) / 2, (lengths - 1) / 2)
        z, y, x = np.clip(voxel, half, lengths - 1 - half).tolist()
        return z, y, x
