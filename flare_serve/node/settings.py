"""What a DICOM node is told when it starts."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from flare_serve.node.addresses import LOOPBACK, Peer, Target

Form: TypeAlias = Literal["seg", "rtstruct"]
FORMS: Final[tuple[Form, ...]] = ("seg", "rtstruct")

_GIB: Final = 2**30


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much senders may ask for.

    Attributes:
        associations: at a time.
        pdu_bytes: longest PDU of data that is announced to senders.
        instance_bytes: longest instance.
        series_bytes: of a series, all instances together.
        series_instances: of a series.
        open_series: series that are not complete, at a time.
        free_bytes: what must stay free on the disk of the spool.
        idle_seconds: how long an association, or a PDU, may rest.
    """

    associations: int = 10
    pdu_bytes: int = 131_072
    instance_bytes: int = 2 * _GIB
    series_bytes: int = 8 * _GIB
    series_instances: int = 10_000
    open_series: int = 100
    free_bytes: int = _GIB
    idle_seconds: float = 60.0


@dataclass(frozen=True, kw_only=True)
class Retries:
    """How often a result is sent to a target that does not take it.

    Attributes:
        first_seconds: from the first attempt to the second; each later pause is twice as long.
        longest_seconds: no pause is longer.
        for_seconds: after this time from the first attempt it is given up.
        timeout_seconds: how long a target may take to answer.
    """

    first_seconds: float = 10.0
    longest_seconds: float = 900.0
    for_seconds: float = 172_800.0
    timeout_seconds: float = 60.0

    def pause(self, attempts: int) -> float:
        """Seconds to wait after so many attempts."""
        return min(self.longest_seconds, self.first_seconds * 2.0 ** min(attempts - 1, 30))


@dataclass(frozen=True, kw_only=True)
class NodeSettings:
    """A node.

    Attributes:
        title: its AE title; a sender must call it so.
        host: IP address it listens on.
        port: its port; 0 for any that is free.
        peers: who may send.
        quiet_seconds: a series is complete when nothing of it came for so long.
        released_seconds: the same once every association that brought some of it was released.
        late_seconds: for how long a series is kept after it became a job, for instances that come late.
        targets: where results go.
        forms: in which forms.
        authorization: value of the header Authorization for targets of STOW-RS; None for none.
        limits: how much senders may ask for.
        retries: how often results are sent.
        tls: files of the certificate and its key, in PEM; None for no encryption.
    """

    title: str = "FLARE"
    host: str = "127.0.0.1"
    port: int = 11112
    peers: tuple[Peer, ...] = (LOOPBACK,)
    quiet_seconds: float = 30.0
    released_seconds: float = 3.0
    late_seconds: float = 1800.0
    targets: tuple[Target, ...] = ()
    forms: tuple[Form, ...] = ("seg",)
    authorization: str | None = field(default=None, repr=False)
    limits: Limits = field(default_factory=Limits)
    retries: Retries = field(default_factory=Retries)
    tls: tuple[Path, Path] | None = None
