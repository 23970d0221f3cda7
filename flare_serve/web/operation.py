"""The session of a browser, health, and metrics."""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from starlette.responses import JSONResponse

from flare_serve.metrics import CONTENT_TYPE
from flare_serve.web.access import COOKIE, SESSION_SECONDS
from flare_serve.web.refusal import RefusedError
from flare_serve.web.routes import why
from flare_serve.web.service import Service
from flare_serve.web.views import Health


def operation_routes(service: Service) -> APIRouter:
    """The routes of those who operate a service."""
    routes = APIRouter(tags=["operation"])

    @routes.post("/session", status_code=204, summary="Begin a session of a browser", responses=why(403))
    def begin(request: Request, response: Response, token: Annotated[str, Form(max_length=4096)]) -> None:
        """The token becomes a cookie that scripts cannot read and other sites cannot use."""
        if not service.access.is_token(token):
            raise RefusedError(401, "the token is wrong")
        response.set_cookie(
            COOKIE,
            service.access.new_session(),
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )

    @routes.get("/session", status_code=204, summary="Whether this client is known", responses=why())
    def known(request: Request) -> None:
        """Nothing, or status 401."""
        if not service.access.knows(request.headers.get("authorization", ""), request.cookies.get(COOKIE, "")):
            raise RefusedError(401, "the token is missing or wrong")

    @routes.delete("/session", status_code=204, summary="End the session of a browser", responses=why(403))
    def end(response: Response) -> None:
        """The cookie is forgotten."""
        response.delete_cookie(COOKIE)

    @routes.get("/healthz", summary="Whether the process works")
    def alive() -> Health:
        """For a liveness probe: answers as long as requests are answered."""
        return Health(problems=[])

    @routes.get("/readyz", summary="Whether jobs are taken and run", responses={503: {"model": Health}})
    def ready() -> Response:
        """For a readiness probe: status 503 while the service ends, a worker is gone or the disk is full."""
        problems = list(service.problems())
        return JSONResponse({"problems": problems}, 503 if problems else 200)

    @routes.get("/metrics", summary="Metrics, as Prometheus reads them", responses=why(), response_class=Response)
    def metrics() -> Response:
        """Queue, seconds by stage, memory, failures by kind, requests by status."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    @routes.get("/model", summary="The model", responses=why())
    def model() -> dict[str, str]:
        """Name, device and version."""
        return service.model

    return routes
