"""Why a request is refused, and how it is answered: a status, and one line as JSON."""

from collections.abc import Mapping

from starlette.responses import JSONResponse, Response

from flare_infer.errors import FlareError, ImageError, one_line
from flare_serve.errors import QueueFullError, SpoolFullError, UnknownJobError


class RefusedError(FlareError):
    """A request that is refused.

    Attributes:
        status: of HTTP.
        headers: further headers of the answer.
    """

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.headers = status, dict(headers or {})


def refused(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a request that is refused."""
    return JSONResponse({"detail": one_line(text)}, status, dict(headers or {}))


def refusal_of(error: FlareError) -> RefusedError:
    """The refusal that an error stands for."""
    match error:
        case RefusedError():
            return error
        case QueueFullError():
            return RefusedError(429, str(error), {"Retry-After": str(error.retry_seconds)})
        case SpoolFullError():
            return RefusedError(507, str(error), {"Retry-After": "60"})
        case UnknownJobError():
            return RefusedError(404, str(error))
        case ImageError():
            return RefusedError(415, str(error))
    return RefusedError(400, str(error))
