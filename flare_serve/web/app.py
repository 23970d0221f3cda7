"""The application: routes, refusals in one line, and the page."""

from importlib.resources import files
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp

from flare_infer.errors import FlareError
from flare_infer.version import __version__
from flare_serve.web.guard import Guard
from flare_serve.web.operation import operation_routes
from flare_serve.web.refusal import refusal_of, refused
from flare_serve.web.routes import job_routes
from flare_serve.web.service import Service

_ASSETS: Final = {
    "page.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_DESCRIPTION: Final = """Segments abdominal organs and tumors in CT: hand in a scan, follow its job, fetch the results.

Every refusal is JSON with one line, `detail`; only what is no HTTP is answered by a plain 400.
If the service has a token, send it as `Authorization: Bearer TOKEN`.
This is research software, not a medical device."""


def new_app(service: Service) -> ASGIApp:
    """The application that answers requests.

    Args:
        service: what it answers with.
    """
    app = FastAPI(
        title="flare-infer serve",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,  # these pages load their scripts from another site
        redoc_url=None,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    app.include_router(job_routes(service))
    app.include_router(operation_routes(service))
    _add_page(app)
    _add_refusals(app)
    return Guard(app, service.access, service.metrics)


def _add_page(app: FastAPI) -> None:
    folder = files("flare_serve.web") / "page"
    contents = {name: (folder / name).read_bytes() for name in ("index.html", *_ASSETS)}

    @app.get("/", include_in_schema=False)
    def page() -> Response:
        return Response(contents["index.html"], media_type="text/html; charset=utf-8")

    @app.get("/assets/{name}", include_in_schema=False)
    def asset(name: str) -> Response:
        if name not in _ASSETS:
            return refused(404, "there is no such file")
        return Response(contents[name], media_type=_ASSETS[name])


def _add_refusals(app: FastAPI) -> None:
    @app.exception_handler(FlareError)
    async def ours(request: Request, error: FlareError) -> Response:
        refusal = refusal_of(error)
        return refused(refusal.status, str(refusal), refusal.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        lines = [f"{'.'.join(str(part) for part in one['loc'][1:])}: {one['msg']}" for one in error.errors()]
        return refused(422, "; ".join(lines))

    @app.exception_handler(HTTPException)
    async def known(request: Request, error: HTTPException) -> Response:
        return refused(error.status_code, f"{error.detail}: {request.method} {request.url.path}", error.headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return refused(400, "the client went away")
