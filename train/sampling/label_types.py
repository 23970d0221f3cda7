"""Label types: cases that annotate the same classes, and which of them a step uses (docs/paper.md, Label types).

proportional
    A type is drawn with probability proportional to its number of cases, then a batch of its cases; a type smaller
    than a batch is drawn with replacement.
paired
    The released code's schedule. Until step `paired_after` only cases that annotate all organs and not tumor; after it
    steps alternate between these and a type drawn among the others, in proportion to their cases. Of the others, types
    smaller than a batch are never drawn.
"""

import numpy as np

from flare_infer.errors import DatasetError
from flare_infer.label_set import FLARE23, LabelSet
from train.sampling.sampler import Sampling, batch_generator
from train.store.store import PreparedCase


class LabelTypes:
    """Draws the cases of a step; all of them are of one label type.

    Args:
        cases: the cases to draw from, at least one.
        sampling: rules with `type_sampling` `proportional` or `paired`.
        batch: number of cases in a step.
        label_set: the classes.

    Raises:
        DatasetError: if the paired schedule has no case for one of its two halves.
    """

    def __init__(
        self, cases: list[PreparedCase], sampling: Sampling, batch: int, label_set: LabelSet = FLARE23
    ) -> None:
        self._all_organs = label_set.organs
        self._sampling = sampling
        self._batch = batch
        self._types: dict[tuple[int, ...], list[PreparedCase]] = {}
        for case in cases:
            self._types.setdefault(tuple(sorted(case.annotated)), []).append(case)
        self._drawn = sorted(self._types)
        if sampling.type_sampling == "paired":
            self._drawn = [key for key in self._drawn if key != self._all_organs and len(self._types[key]) >= batch]
            if self._all_organs not in self._types or not self._drawn:
                organs = len(self._all_organs)
                raise DatasetError(
                    f"type_sampling = paired needs cases that annotate all {organs} organs and not tumor, and a batch "
                    f"of {batch} cases that annotate other classes; use proportional"
                )

    def draw(self, seed: int, step: int) -> list[PreparedCase]:
        """The cases of a step; they depend on seed and step only."""
        rng = batch_generator(seed, step)
        cases = self._types[self._type_of(step, rng)]
        chosen = rng.choice(len(cases), self._batch, replace=len(cases) < self._batch)
        return [cases[index] for index in chosen]

    def _type_of(self, step: int, rng: np.random.Generator) -> tuple[int, ...]:
        after = step - self._sampling.paired_after
        if self._sampling.type_sampling == "paired" and (after < 0 or after % 2 == 0):
            return self._all_organs
        counts = np.asarray([len(self._types[key]) for key in self._drawn])
        return self._drawn[int(rng.choice(len(self._drawn), p=counts / counts.sum()))]
