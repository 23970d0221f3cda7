"""The counter that the tests of memory rely on."""

import torch

from tests.live_bytes import LiveBytes


def test_bytes_are_counted_until_they_are_freed() -> None:
    with LiveBytes() as memory:
        first = torch.zeros(1000)
        assert memory.now == 4000
        view = first[:10]
        first += 1
        assert memory.now == 4000
        second = first + 1
        assert (memory.now, memory.peak) == (8000, 8000)
        del first
        assert memory.now == 8000  # the view keeps it
        del view, second
        assert (memory.now, memory.peak) == (0, 8000)
