"""What clients are told about jobs, as JSON."""

import datetime

from pydantic import BaseModel, Field

from flare_serve.jobs.job import RESULTS, Job, State
from flare_serve.web.service import Service


class ProgressView(BaseModel):
    """How far a job is."""

    windows_done: int = Field(description="Windows that were run or passed over.")
    windows: int = Field(description="Windows of the whole scan; 0 until that is known.")


class JobView(BaseModel):
    """One scan that was handed in."""

    id: str = Field(description="32 hexadecimal digits.", examples=["0f8e2c5b9d7a41c6b3e8f1a2d4c5b6a7"])
    name: str = Field(description="What the sender calls it.", examples=["ct.nii.gz"])
    origin: str = Field(description="Who handed it in.", examples=["http"])
    state: State = Field(description="Where it is; done and failed are final.")
    place: int = Field(description="How many jobs go before it while it is queued.")
    created: str = Field(description="When it was accepted, in UTC (ISO 8601).")
    began: str | None = Field(description="When it was last started.")
    ended: str | None = Field(description="When it was done or failed.")
    starts: int = Field(description="How often it was started; more than once if the service ended meanwhile.")
    progress: ProgressView
    seconds: float = Field(description="Seconds of reading, segmenting and writing.")
    reason: str = Field(description="One line that says why it failed; empty if it did not.")
    notices: list[str] = Field(description="Lines on the scan that a user should see.")
    flags: list[str] = Field(description="Reasons to look at the result with care.")
    results: dict[str, str] = Field(description="Addresses of what was made of it, by name.")
    size: int = Field(description="Bytes that it takes on the disk of the service.")


class JobList(BaseModel):
    """Jobs, the newest first."""

    jobs: list[JobView]


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str = Field(description="One line.")


class Health(BaseModel):
    """Whether the service works."""

    problems: list[str] = Field(description="One line for each reason why it does not; empty if it does.")


def view_of(service: Service, job: Job) -> JobView:
    """What a client is told about a job."""
    windows = service.progress.of(job.id)
    done, total = (job.windows, job.windows) if job.state == State.DONE else windows
    return JobView(
        id=job.id,
        name=job.name,
        origin=job.origin,
        state=job.state,
        place=job.place,
        created=_moment(job.created) or "",
        began=_moment(job.began),
        ended=_moment(job.ended),
        starts=job.starts,
        progress=ProgressView(windows_done=done, windows=total),
        seconds=round(job.seconds, 3),
        reason=job.reason,
        notices=list(job.notices),
        flags=list(job.flags),
        results={name: f"jobs/{job.id}/{name}" for name in RESULTS if service.store.result_of(job, name)},
        size=job.size,
    )


def _moment(seconds: float) -> str | None:
    """A moment in ISO 8601; None for one that has not come."""
    if not seconds:
        return None
    return datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC).isoformat(timespec="milliseconds")
