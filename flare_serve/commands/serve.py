"""The command `flare-infer serve`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from flare_infer.commands import options as common
from flare_infer.errors import MissingExtraError, UsageError
from flare_infer.shell.command import SOME_FAILED, errors_reported, new_app, run, say_error
from flare_serve.commands import options
from flare_serve.errors import FaultError

if TYPE_CHECKING:
    from flare_serve.node.settings import NodeSettings
    from flare_serve.web.access import Access
    from flare_serve.worker.model import ModelOptions

_NEEDED: Final = ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "pynetdicom")
"""Libraries of the extra."""

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
    dicom_port: options.DicomPort = None,
    dicom_title: options.DicomTitle = None,
    allow: options.Allow = None,
    quiet_seconds: options.QuietSeconds = None,
    send_to: options.SendTo = None,
    dicom_settings: options.DicomSettings = None,
) -> None:
    """Run a service: jobs over HTTP, a page for browsers and a DICOM node, with the model loaded once.

    Exit code: 0 if a signal ended it (130 after a second Ctrl-C), 1 if a part of it failed, 2 if it could not begin.
    """
    with errors_reported(), _faults_reported():
        _require_libraries()
        access = _access(address, token_file, new_token, host_name or [])
        from flare_infer.backends.allocator import keep_freed_blocks, use_one_heap

        keep_freed_blocks()  # before torch is imported
        use_one_heap()

        from flare_serve.commands.process import run_service
        from flare_serve.commands.running import ServeOptions
        from flare_serve.jobs.settings import limits_of
        from flare_serve.web.service import UploadTimes

        asked = ServeOptions(
            address=address,
            port=port,
            spool=spool or _spool(),
            limits=limits_of(queue, upload_mib, keep_days, keep_gib, free_mib),
            access=access,
            model=_model(weights, device, precision, backend, gpu_budget, ram_budget),
            upload_times=UploadTimes(idle_seconds=idle_seconds, seconds=upload_seconds),
            grace_seconds=grace,
            debug=debug,
            node=_node(dicom_port, dicom_title, allow, quiet_seconds, send_to, dicom_settings, free_mib),
        )
        run_service(asked, lambda place: typer.echo(f"{place}#token={access.token}" if new_token else place))


def _require_libraries() -> None:
    """Make sure that the libraries of the extra are there, before anything takes long.

    Raises:
        MissingExtraError: if one is not.
    """
    for name in _NEEDED:
        if find_spec(name) is None:
            raise MissingExtraError(f'serve needs {name}: pip install "flare-infer[serve]"')


@contextmanager
def _faults_reported() -> Iterator[None]:
    """Turn a part that ended by itself into one line and its exit code."""
    try:
        yield
    except FaultError as error:
        say_error(str(error))
        raise typer.Exit(SOME_FAILED) from error


def _access(address: str, token_file: Path | None, new_token: bool, names: list[str]) -> "Access":
    """Who may use the service.

    Raises:
        UsageError: if the token cannot be read, or there is none and others than this machine could use the service.
    """
    from flare_serve.web.access import Access, is_loopback, make_token, read_token

    token_file = token_file or (Path(found) if (found := os.environ.get("FLARE_TOKEN_FILE")) else None)
    if token_file is not None and new_token:
        raise UsageError("--token-file and --new-token: choose one")
    token = make_token() if new_token else None if token_file is None else read_token(token_file)
    if token is None and not is_loopback(address):
        raise UsageError(
            f"--address {address}: others than this machine could use the service; name a file with a token "
            "(--token-file), or have one made (--new-token)"
        )
    if names and token is None:
        raise UsageError("--host-name: the service is for others then; name a file with a token (--token-file)")
    return Access(token=token, names=frozenset(name.lower() for name in names), token_file=token_file)


def _model(
    weights: Path | None, device: str, precision: str, backend: str, gpu_budget: int | None, ram_budget: int | None
) -> "ModelOptions":
    from flare_serve.worker.model import ModelOptions

    devices = tuple(name.strip() for name in device.split(","))
    return ModelOptions(weights, devices, precision, backend, gpu_budget, ram_budget)


def _node(
    port: int | None,
    title: str | None,
    allow: list[str] | None,
    quiet_seconds: float | None,
    send_to: list[str] | None,
    file: Path | None,
    free_mib: int,
) -> "NodeSettings | None":
    """What the DICOM node is told; None if none is wanted.

    Raises:
        UsageError: if something of it is wrong.
    """
    from flare_serve.jobs.settings import MIB
    from flare_serve.node.settings_file import NodeOptions, node_settings

    said = NodeOptions(
        port=port, title=title, allow=allow or (), quiet_seconds=quiet_seconds, send_to=send_to or (), file=file
    )
    return node_settings(said, free_mib * MIB)


def _spool() -> Path:
    if found := os.environ.get("FLARE_SPOOL"):
        return Path(found)
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "flare-infer" / "spool"


def main() -> None:
    """Run the command line of `python -m flare_serve`."""
    run(app)
