"""Several networks, and mirror images of what they see, as one network."""

from collections.abc import Callable, Sequence
from itertools import chain, combinations
from typing import TypeAlias

import torch
from torch import Tensor

from flare_infer.errors import SpecError

Run: TypeAlias = Callable[[Tensor], Tensor]
"""A live network: images (n, channels, z, y, x) to logits (n, classes, z, y, x)."""


class Ensemble:
    """The mean of the logits of several networks, each also asked about mirror images.

    Args:
        networks: each maps (n, channels, z, y, x) to (n, classes, z, y, x); at least one.
        mirror_axes: axes of (z, y, x) that are mirrored, in all their combinations: three axes mean eight passes of
            every network.
    """

    def __init__(self, networks: Sequence[Run], mirror_axes: Sequence[int] = ()) -> None:
        if not networks:
            raise SpecError("an ensemble needs at least one network, found none")
        self.networks = tuple(networks)
        axes = [axis + 2 for axis in mirror_axes]
        self._mirrored = list(chain.from_iterable(combinations(axes, count) for count in range(len(axes) + 1)))

    @property
    def passes(self) -> int:
        """How often a network runs for one batch."""
        return len(self.networks) * len(self._mirrored)

    def __call__(self, batch_nczyx: Tensor) -> Tensor:
        """Mean logits (n, classes, z, y, x), in the type that the networks give; one pass at a time."""
        passes = (_pass(network, batch_nczyx, axes) for network in self.networks for axes in self._mirrored)
        total = next(passes)
        for logits in passes:
            total = total + logits
        return total / self.passes if self.passes > 1 else total


def _pass(network: Run, batch_nczyx: Tensor, axes: tuple[int, ...]) -> Tensor:
    """What a network says of a mirror image, mirrored back."""
    logits = network(torch.flip(batch_nczyx, axes) if axes else batch_nczyx)
    return torch.flip(logits, axes) if axes else logits


def as_one(networks: Sequence[Run], mirror_axes: Sequence[int] = ()) -> Run:
    """The network itself if there is one and nothing to mirror, otherwise their `Ensemble`."""
    return networks[0] if len(networks) == 1 and not mirror_axes else Ensemble(networks, mirror_axes)
