"""The command `flare-infer serve`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from flare_infer.commands import options as common
from flare_infer.errors import MissingExtraError, UsageError
from flare_infer.shell.command import SOME_FAILED, errors_reported, new_app, run, say_error
from flare_serve.commands import options
from flare_serve.errors import FaultError

if TYPE_CHECKING:
    from flare_serve.web.access import Access

_NEEDED: Final = {"fastapi", "starlette", "uvicorn", "python_multipart", "prometheus_client", "pydantic", "anyio"}
"""Libraries of the extra; whatever else is missing is a fault of an installation."""

app = new_app("A service around the model.")


def add_command(target: typer.Typer) -> None:
    """Add `serve` to an application.

    Args:
        target: that of `flare-infer`, which finds this function by an entry point.
    """
    target.command("serve")(serve)


@app.command()
def serve(  # noqa: PLR0913, PLR0917 - a command has as many options as it needs
    address: options.Address = "127.0.0.1",
    port: options.Port = 8000,
    spool: options.SpoolFolder = None,
    token_file: options.TokenFile = None,
    new_token: options.NewToken = False,
    host_name: options.HostName = None,
    weights: common.Weights = None,
    device: options.Devices = "auto",
    precision: common.Precision = "auto",
    backend: common.Backend = "auto",
    gpu_budget: common.GpuBudget = None,
    ram_budget: common.RamBudget = None,
    queue: options.Queue = 32,
    upload_mib: options.UploadMib = 2048,
    upload_seconds: options.UploadSeconds = 1800.0,
    idle_seconds: options.IdleSeconds = 30.0,
    keep_days: options.KeepDays = 7.0,
    keep_gib: options.KeepGib = 20.0,
    free_mib: options.FreeMib = 256,
    grace: options.Grace = 20.0,
    debug: options.Debug = False,
) -> None:
    """Run a service: jobs over HTTP and a page for browsers, with the model loaded once.

    Exit code: 0 if a signal ended it, 1 if a part of it ended by itself, 2 if it could not begin.
    """
    with errors_reported(), _libraries_there():
        from flare_infer.backends.allocator import keep_freed_blocks

        keep_freed_blocks()  # before torch is imported

        from flare_serve.commands.process import run_service
        from flare_serve.commands.running import ServeOptions
        from flare_serve.jobs.settings import limits_of
        from flare_serve.web.service import UploadTimes
        from flare_serve.worker.model import ModelOptions

        devices = tuple(name.strip() for name in device.split(","))
        access = _access(token_file, new_token, host_name or [])
        model = ModelOptions(weights, devices, precision, backend, gpu_budget, ram_budget)
        asked = ServeOptions(
            address=address,
            port=port,
            spool=spool or _spool(),
            limits=limits_of(queue, upload_mib, keep_days, keep_gib, free_mib),
            access=access,
            model=model,
            upload_times=UploadTimes(idle_seconds=idle_seconds, seconds=upload_seconds),
            grace_seconds=grace,
            debug=debug,
        )
        shown = f"#token={access.token}" if new_token else ""
        run_service(asked, lambda place: typer.echo(f"{place}{shown}"))


@contextmanager
def _libraries_there() -> Iterator[None]:
    """Turn a missing library of the extra into one line, and a part that ended by itself into its exit code."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        raise MissingExtraError(f'serve needs {error.name}: pip install "flare-infer[serve]"') from error
    except FaultError as error:
        say_error(str(error))
        raise typer.Exit(SOME_FAILED) from error


def _access(token_file: Path | None, new_token: bool, names: list[str]) -> "Access":
    """Who may use the service.

    Raises:
        UsageError: if the token cannot be read, or names are given without one.
    """
    from flare_serve.web.access import Access, make_token, read_token

    token_file = token_file or (Path(found) if (found := os.environ.get("FLARE_TOKEN_FILE")) else None)
    if token_file is not None and new_token:
        raise UsageError("--token-file and --new-token: choose one")
    token = make_token() if new_token else None if token_file is None else read_token(token_file)
    if names and token is None:
        raise UsageError("--host-name: the service is for others then; name a file with a token (--token-file)")
    return Access(token=token, names=frozenset(name.lower() for name in names))


def _spool() -> Path:
    if found := os.environ.get("FLARE_SPOOL"):
        return Path(found)
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "flare-infer" / "spool"


def main() -> None:
    """Run the command line of `python -m flare_serve`."""
    run(app)
