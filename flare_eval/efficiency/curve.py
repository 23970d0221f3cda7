"""Memory over time: samples taken while a command runs, their maximum and the area under them."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np

PERIOD_S: Final = 0.05
"""Seconds from the start of one sample to the start of the next, unless reading it takes longer."""

OFFICIAL_PERIOD_S: Final = 0.1
"""Seconds that the organizers' loop sleeps between samples, which they take for the time between two samples."""

_JITTER_S: Final = 0.01

Probe: TypeAlias = Callable[[], float | None]
"""A function that reads an amount of memory, in MB; None if it cannot be read now."""


@dataclass
class Curve:
    """Samples of an amount of memory over time.

    Attributes:
        seconds: time of each sample, from the start of the command.
        mb: memory of each sample, in MB.
    """

    seconds: list[float] = field(default_factory=list)
    mb: list[float] = field(default_factory=list)

    @property
    def maximum_mb(self) -> float | None:
        """The largest sample; None without one."""
        return max(self.mb, default=None)

    @property
    def official_area_mb_s(self) -> float | None:
        """The organizers' area, each sample times 0.1 s, rounded to whole MB * s; None without a sample.

        Samples are first thinned to the organizers' period: one counts if it was taken at least 0.1 s after the last
        that counts, less 0.01 s, since a thread does not wake at an exact time.
        """
        if not self.mb:
            return None
        total = 0.0
        last = float("-inf")
        for second, value in zip(self.seconds, self.mb, strict=True):
            if second - last >= OFFICIAL_PERIOD_S - _JITTER_S:
                total += value
                last = second
        return float(round(total * OFFICIAL_PERIOD_S))

    @property
    def weighted_area_mb_s(self) -> float | None:
        """Area in MB * s by the trapezoid rule over the true times; None with fewer than two samples."""
        if len(self.mb) < 2:
            return None
        return float(np.trapezoid(self.mb, self.seconds))


class Sampler:
    """Reads probes again and again, in a thread of its own, until it is stopped.

    Attributes:
        curves: samples of each probe, by its name; empty if the probe never returned a number.
    """

    def __init__(self, probes: dict[str, Probe], period_s: float = PERIOD_S) -> None:
        self.curves = {name: Curve() for name in probes}
        self._probes = probes
        self._period_s = period_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._started = 0.0

    def start(self) -> None:
        """Take the first samples now, and further ones until `stop`."""
        self._started = time.perf_counter()
        self._thread.start()

    def stop(self) -> None:
        """Take no more samples; returns when the thread has ended."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            began = time.perf_counter()
            for name, probe in self._probes.items():
                value = probe()
                if value is not None:
                    self.curves[name].seconds.append(time.perf_counter() - self._started)
                    self.curves[name].mb.append(value)
            if self._stop.wait(max(0.0, began + self._period_s - time.perf_counter())):
                return
