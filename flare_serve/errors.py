"""What a service refuses, beside the errors of `flare_infer.errors`; each text is one line for the client."""

from flare_infer.errors import FlareError


class QueueFullError(FlareError):
    """As many jobs wait as may wait; the client should come again.

    Attributes:
        retry_seconds: after how many seconds.
    """

    def __init__(self, text: str, retry_seconds: int) -> None:
        super().__init__(text)
        self.retry_seconds = retry_seconds


class SpoolFullError(FlareError):
    """The disk of the spool has no room for an upload or a record; nothing that was accepted is lost."""


class FaultError(FlareError):
    """A part of the service ended by itself; whoever started the service should start it again."""


class UnknownJobError(FlareError):
    """There is no job of this id, or no longer."""
