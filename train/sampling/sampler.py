"""Which case and which position a patch comes from.

Randomness is counter-based: a patch depends on seed, step and index in the batch only, so that a resumed run, or one
with another number of workers, draws the same patches.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from flare_infer.errors import SpecError
from flare_infer.geometry import Shape
from flare_infer.labels import TUMOR
from train.store.store import PreparedCase

TypeSampling: TypeAlias = Literal["by_class", "proportional", "paired"]
"""How the cases of a batch are chosen, see `Sampling.type_sampling`."""

_OF_A_BATCH: Final = 1


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How patches are drawn.

    Attributes:
        type_sampling: `by_class` draws a class first, over all cases, for each patch alone. The others draw a label
            type (the cases that annotate the same classes) for a batch, then its cases, then a class of each case:
            `proportional`, a type with probability proportional to its cases (the paper); `paired`, the schedule of
            the released code, see `label_types`.
        paired_after: number of steps before the pairs of `paired` begin.
        organ_center_keep: in cases with organs and tumor, the probability with which each organ stays among the classes
            that a center is drawn from; below 1, more centers are tumors (0.2 in the released code). Not for
            `by_class`.
        foreground: probability that a patch is centered at an annotated class (0.7, Table 2 of the paper).
        balance: a class is drawn with probability proportional to (number of cases that hold it) ** balance: 1 follows
            the cases, 0 draws all classes alike; between them, rare classes are drawn often without repeating a single
            case all the time. Only for `by_class`.
        jitter: largest distance between the drawn voxel and the center of the patch, as a fraction of the patch size.
    """

    type_sampling: TypeSampling = "by_class"
    paired_after: int = 150 * 250
    organ_center_keep: float = 1.0
    foreground: float = 0.7
    balance: float = 1.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.foreground <= 1 or not 0 <= self.jitter <= 0.5:
            raise SpecError(f"sampling needs foreground in [0, 1] and jitter in [0, 0.5], found {self}")
        if self.type_sampling not in get_args(TypeSampling) or not 0 <= self.organ_center_keep <= 1:
            raise SpecError(
                f"sampling needs type_sampling of {', '.join(get_args(TypeSampling))} and organ_center_keep in [0, 1], "
                f"found {self}"
            )


@dataclass(frozen=True, kw_only=True)
class PatchCenter:
    """The position of a patch.

    Attributes:
        case: the prepared case.
        voxel: center of the patch in voxels of the case (z, y, x).
        code: code of the class that it was drawn for; 0 if it was drawn anywhere.
    """

    case: PreparedCase
    voxel: tuple[float, float, float]
    code: int


def sample_generator(seed: int, step: int, index: int) -> np.random.Generator:
    """The random generator of sample number `index` of a step."""
    return np.random.default_rng((seed, step, index))


def batch_generator(seed: int, step: int) -> np.random.Generator:
    """The random generator of everything that the samples of a step share.

    It has a key of its own: a plain (seed, step) would be the generator of sample 0.
    """
    return np.random.default_rng(np.random.SeedSequence((seed, step), spawn_key=(_OF_A_BATCH,)))


class CenterSampler:
    """Draws patch centers from a set of prepared cases.

    Args:
        cases: the cases to draw from, at least one.
        sampling: rules of drawing.
        patch: size of a patch in voxels (z, y, x).
        lesions: codes of the classes that are lesions.
    """

    def __init__(
        self, cases: list[PreparedCase], sampling: Sampling, patch: Shape, lesions: Collection[int] = (TUMOR,)
    ) -> None:
        self._lesions = frozenset(lesions)
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
        """Draw one center, its class first; if no case has any foreground, the position is uniform."""
        if self._codes and rng.random() < self._sampling.foreground:
            code = int(rng.choice(self._codes, p=self._probabilities))
            holders = self._holders[code]
            return self._about(code, holders[rng.integers(len(holders))], rng)
        return self._anywhere(self._cases[rng.integers(len(self._cases))], rng)

    def draw_in(self, case: PreparedCase, rng: np.random.Generator) -> PatchCenter:
        """Draw one center in a case, all its classes alike; if it has no foreground, the position is uniform."""
        if case.locations and rng.random() < self._sampling.foreground:
            codes = self._focused(sorted(case.locations), rng)
            return self._about(codes[rng.integers(len(codes))], case, rng)
        return self._anywhere(case, rng)

    def _focused(self, codes: list[int], rng: np.random.Generator) -> list[int]:
        """The codes that a center is drawn from, without the organs dropped in favor of tumor."""
        if not self._lesions & set(codes):
            return codes
        kept = rng.random(len(codes)) < self._sampling.organ_center_keep
        return [code for code, stays in zip(codes, kept, strict=True) if stays or code in self._lesions]

    def _about(self, code: int, case: PreparedCase, rng: np.random.Generator) -> PatchCenter:
        where = case.locations[code]
        voxel = where[rng.integers(len(where))].astype(np.float64)
        voxel += (rng.random(3) * 2 - 1) * self._sampling.jitter * self._patch
        return PatchCenter(case=case, voxel=self._inside(voxel, case), code=code)

    def _anywhere(self, case: PreparedCase, rng: np.random.Generator) -> PatchCenter:
        anywhere = rng.random(3) * np.asarray(case.shape)
        return PatchCenter(case=case, voxel=self._inside(anywhere, case), code=0)

    def _inside(self, voxel: npt.NDArray[np.float64], case: PreparedCase) -> tuple[float, float, float]:
        """The nearest center whose patch lies inside the case; the middle along axes shorter than the patch."""
        lengths = np.asarray(case.shape)
        half = np.minimum((self._patch - 1) / 2, (lengths - 1) / 2)
        z, y, x = np.clip(voxel, half, lengths - 1 - half).tolist()
        return z, y, x
