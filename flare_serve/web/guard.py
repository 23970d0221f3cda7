"""What every request passes: the name of the host, the origin, the token; and the headers of every answer."""

import time
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flare_serve.logs import log
from flare_serve.metrics import Metrics
from flare_serve.web.access import COOKIE, Access
from flare_serve.web.refusal import RefusedError, refused

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""What a page of the service may do: load its own files, and talk to the service."""

_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

_SAFE: Final = {"GET", "HEAD", "OPTIONS"}
_METHODS: Final = {*_SAFE, "POST", "DELETE", "PUT", "PATCH"}
_PROBES: Final = {"/healthz", "/readyz"}
"""What is asked by address, whatever the service is called."""

_OPEN: Final = {*_PROBES, "/", "/session"}
_OPEN_FOLDER: Final = "/assets/"
"""What is answered without the token: nothing of it is a secret."""


class Guard:
    """Refuses what may not be asked, and completes every answer.

    Args:
        app: the application behind it.
        access: who may use it.
        metrics: told of every answer.
    """

    def __init__(self, app: ASGIApp, access: Access, metrics: Metrics) -> None:
        self._app, self._access, self._metrics = app, access, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def completed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            refusal = self._refusal(scope["method"], scope["path"], Headers(scope=scope))
            if refusal is not None:
                await refused(refusal.status, str(refusal), refusal.headers)(scope, receive, completed)
            else:
                await self._app(scope, receive, completed)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.answered(method, status)
            if route not in {*_PROBES, "/metrics"}:
                seconds = round(time.perf_counter() - began, 4)
                log("request", method=method, route=route, status=status, seconds=seconds)

    def _refusal(self, method: str, path: str, headers: Headers) -> RefusedError | None:
        host = headers.get("host", "")
        if path not in _PROBES and not self._access.serves(host):
            return RefusedError(421, "this service does not answer to that host name; --host-name adds one")
        if method not in _SAFE and not _same_origin(headers, host):
            return RefusedError(403, "the request comes from another site")
        if path in _OPEN or path.startswith(_OPEN_FOLDER):
            return None
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        if not self._access.knows(headers.get("authorization", ""), cookie):
            return RefusedError(401, "the token is missing or wrong", {"WWW-Authenticate": "Bearer"})
        return None


def _same_origin(headers: Headers, host: str) -> bool:
    """Whether a request was not made by a page of another site; programs other than browsers say no origin."""
    if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return False
    origin = headers.get("origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False
