"""One line of JSON for each event, on standard error; nothing that a client or a patient is called is ever in it."""

import datetime
import json
import logging
import sys
from typing import Any, Final

_LOGGER: Final = logging.getLogger("flare_serve")


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        now = datetime.datetime.fromtimestamp(record.created, tz=datetime.UTC)
        fields = getattr(record, "fields", {})
        line = {"time": now.isoformat(timespec="milliseconds"), "level": record.levelname.lower()}
        return json.dumps({**line, "event": record.getMessage(), **fields}, default=str)


def start_logs() -> None:
    """Write events to standard error from now on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    _LOGGER.handlers = [handler]
    _LOGGER.propagate = False
    _LOGGER.setLevel(logging.INFO)


def log(event: str, **fields: Any) -> None:
    """Write what happened.

    Args:
        event: what, in words that never change.
        fields: numbers, ids of jobs, kinds; no names, and no texts that come from a client or a scan.
    """
    _LOGGER.info(event, extra={"fields": fields})


def log_warning(event: str, **fields: Any) -> None:
    """Write what somebody should put right; the arguments are those of `log`."""
    _LOGGER.warning(event, extra={"fields": fields})


def log_error(event: str, **fields: Any) -> None:
    """Write what went wrong; the arguments are those of `log`."""
    _LOGGER.error(event, extra={"fields": fields})
