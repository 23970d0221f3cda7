"""Jobs over HTTP."""

from typing import Annotated, Any, Final, TypeAlias

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.responses import FileResponse, StreamingResponse

from flare_infer.errors import FlareError
from flare_serve.jobs.job import RESULTS, State
from flare_serve.web.events import MOST_SHOWN, events_of_all, events_of_job
from flare_serve.web.refusal import RefusedError, refusal_of
from flare_serve.web.service import Service
from flare_serve.web.upload import FILE, SERIES, drain, receive_job
from flare_serve.web.views import JobList, JobView, Problem, view_of

_MEDIA_TYPES: Final = {
    "labels.nii.gz": "application/gzip",
    "seg.dcm": "application/dicom",
    "rtstruct.dcm": "application/dicom",
    "statistics.json": "application/json",
    "report.html": "text/html; charset=utf-8",
}
_WHAT: Final = {
    "labels.nii.gz": "The label map, the same byte for byte as `flare-infer predict` writes.",
    "seg.dcm": "DICOM Segmentation; of a DICOM series only.",
    "rtstruct.dcm": "DICOM RT Structure Set; of a DICOM series only.",
    "statistics.json": "Volumes, lesions, confidence and flags.",
    "report.html": "A page with the scan under its labels; it holds images of the patient.",
}
_REPORT_POLICY: Final = "sandbox allow-scripts allow-downloads; frame-ancestors 'self'"
"""The report is made of what a client sent: whatever it held, it could not act as the service."""

_WHY: Final = {
    400: "The request is no good.",
    401: "The token is missing or wrong.",
    403: "The request comes from another site.",
    404: "There is no such job or result, or not yet.",
    408: "The upload took too long.",
    413: "The upload is too large.",
    415: "The upload is no scan.",
    421: "The service does not answer to that host name.",
    429: "The queue is full; `Retry-After` says when to come again.",
    503: "Too many uploads or followers at once.",
    507: "The disk of the service is full.",
}
_FILE: Final = {"type": "string", "format": "binary"}
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "A CT: one file as the body, or a form with one file, or with the files of a DICOM series.",
        "content": {
            "application/octet-stream": {"schema": _FILE},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FILE],
                    "properties": {
                        FILE: {"type": "array", "items": _FILE},
                        "name": {"type": "string", "description": "What the scan is to be called in the list."},
                        "series": {"type": "string", "pattern": SERIES},
                    },
                }
            },
        },
    }
}

Answers: TypeAlias = dict[int | str, dict[str, Any]]
JobId: TypeAlias = Annotated[str, Path(description="Id of the job: 32 hexadecimal digits.")]
"""Anything else is the id of no job: the database says so, before it becomes part of a path."""


def why(*statuses: int) -> Answers:
    """Descriptions of answers that are refusals, for OpenAPI."""
    return {status: {"model": Problem, "description": _WHY[status]} for status in (401, 421, *statuses)}


def job_routes(service: Service) -> APIRouter:
    """The routes of jobs."""
    routes = APIRouter(tags=["jobs"])
    _add_jobs(routes, service)
    _add_events(routes, service)
    for name in RESULTS:
        _add_result(routes, service, name)
    return routes


def _add_jobs(routes: APIRouter, service: Service) -> None:
    @routes.post(
        "/jobs",
        status_code=201,
        summary="Hand in a scan",
        responses=why(400, 403, 408, 413, 415, 429, 503, 507),
        openapi_extra=_BODY,
    )
    async def submit(
        request: Request,
        response: Response,
        name: Annotated[str, Query(description="What the scan is to be called in the list.", max_length=1024)] = "",
        series: Annotated[
            str, Query(description="Which DICOM series: largest (default), or its UID.", pattern=f"^({SERIES}|)$")
        ] = "",
    ) -> JobView:
        """The body is written to the disk while it arrives. Its content says what it is; names decide nothing."""
        try:
            job = await receive_job(request, service, name, series)
        except FlareError as error:
            await drain(request)
            raise refusal_of(error) from error
        response.headers["Location"] = f"jobs/{job.id}"
        return view_of(service, job)

    @routes.get("/jobs", summary="List jobs, the newest first", responses=why(404))
    def every(
        state: Annotated[State | None, Query(description="Only those in this state.")] = None,
        limit: Annotated[int, Query(description="At most so many.", ge=1, le=1000)] = MOST_SHOWN,
        before: Annotated[str, Query(description="Only those before the job of this id.")] = "",
    ) -> JobList:
        """For more than the limit, ask again with the id of the last one as `before`."""
        if before:
            service.store.job(before)
        jobs = service.store.jobs(states=tuple(State) if state is None else (state,), most=limit, before=before)
        return JobList(jobs=[view_of(service, job) for job in jobs])

    @routes.get("/jobs/{job_id}", summary="One job", responses=why(404))
    def one(job_id: JobId) -> JobView:
        """Where it is, how far, and what was made of it."""
        return view_of(service, service.store.job(job_id))

    @routes.delete(
        "/jobs/{job_id}", status_code=204, summary="Remove a job with all its files", responses=why(403, 404)
    )
    def remove(job_id: JobId) -> None:
        """A job that is running stops soon."""
        service.store.remove(job_id)
        service.progress.changed()


def _add_events(routes: APIRouter, service: Service) -> None:
    stream: Answers = {
        200: {"content": {"text/event-stream": {}}, "description": "Events `job` (as JSON) and `removed`."}
    }

    @routes.get("/events", summary="Follow the newest jobs", responses={**stream, **why(503)})
    async def follow_all() -> StreamingResponse:
        """Server-sent events: each job now, then whenever it changes."""
        return StreamingResponse(events_of_all(service), media_type="text/event-stream")

    @routes.get("/jobs/{job_id}/events", summary="Follow a job", responses={**stream, **why(404, 503)})
    def follow(job_id: JobId) -> StreamingResponse:
        """Server-sent events: the job now, then whenever it changes, until it has ended."""
        service.store.job(job_id)
        return StreamingResponse(events_of_job(service, job_id), media_type="text/event-stream")


def _add_result(routes: APIRouter, service: Service, name: str) -> None:
    content: Answers = {
        200: {"content": {_MEDIA_TYPES[name].partition(";")[0]: {"schema": _FILE}}, "description": _WHAT[name]}
    }

    @routes.get(
        f"/jobs/{{job_id}}/{name}",
        summary=_WHAT[name],
        operation_id=f"get_{name.replace('.', '_')}",
        response_class=FileResponse,
        responses={**content, **why(404)},
        tags=["results"],
    )
    def result(job_id: JobId) -> Response:
        """A job that is not done has none."""
        job = service.store.job(job_id)
        path = service.store.result_of(job, name)
        if path is None:
            raise RefusedError(404, f"this job has no {name}: it is {job.state}" + _hint(name, job.state))
        is_page = name.endswith(".html")
        return FileResponse(
            path,
            media_type=_MEDIA_TYPES[name],
            filename=f"{job_id[:8]}-{name}",
            content_disposition_type="inline" if is_page else "attachment",
            headers={"Content-Security-Policy": _REPORT_POLICY} if is_page else {},
        )


def _hint(name: str, state: State) -> str:
    return ", and its scan is no DICOM series" if state == State.DONE and name.endswith(".dcm") else ""
