"""The head of a Ray cluster: its address, and whether somebody listens there."""

import os
import socket
from importlib.util import find_spec
from typing import Final

from flare_infer.errors import MissingExtraError, UsageError

AUTO: Final = "auto"

_REACH_SECONDS: Final = 10.0


def refuse_if_nobody_listens(address: str) -> None:
    """Make sure that workers can be had, as far as that is known without them.

    Args:
        address: as for `RayCrew`.

    Raises:
        MissingExtraError: if Ray is not installed.
        UsageError: if nobody listens at the address, or it is none.
    """
    if find_spec("ray") is None:
        raise MissingExtraError('--ray needs Ray: pip install "flare-infer[ray]"')
    try:
        if head := address_of_head(address):
            _reach(head)
    except (OSError, ValueError) as error:
        raise no_cluster(address, error) from error


def address_of_head(address: str) -> str:
    """HOST:PORT of the cluster's head; empty if a cluster is to be started here."""
    return os.environ.get("RAY_ADDRESS", "") if address == AUTO else address


def no_cluster(address: str, error: Exception) -> UsageError:
    """The error for an address at which there is no cluster."""
    return UsageError(f"--ray {address}: no Ray cluster there ({error}); is its head running?")


def _reach(address: str) -> None:
    """Make sure that somebody listens at an address: Ray itself would go on trying for minutes.

    Raises:
        OSError: if nobody does.
        ValueError: if it is none.
    """
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not (colon and port.isdecimal()):
        raise ValueError("expected HOST:PORT")
    socket.create_connection((host.strip("[]"), int(port)), _REACH_SECONDS).close()
