"""Where the command is found, and what it takes."""

import importlib
import socket
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from flare_infer.commands import further
from flare_infer.errors import UsageError
from flare_infer.runs.outputs_lock import outputs_locked
from flare_infer.shell.command import new_app
from flare_serve.commands import serve
from flare_serve.commands.process import listening_on

ROOT = Path(__file__).resolve().parents[3]


def test_flare_infer_finds_the_command_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (name, place), *others = project["entry-points"][further.GROUP].items()
    assert (name, others) == ("serve", [])
    point = EntryPoint(name, place, further.GROUP)
    asked: list[str] = []

    def found(*, group: str) -> list[EntryPoint]:
        asked.append(group)
        return [point]

    monkeypatch.setattr(further, "entry_points", found)
    target = new_app("An application.")

    @target.command()
    def import_something() -> None: ...

    for words in (["flare-infer", "import-something"], ["flare-infer", "serve"], ["flare-infer", "--help"]):
        monkeypatch.setattr("sys.argv", words)
        further.add_further_commands(target)
    assert asked == [further.GROUP] * 2
    assert "serve" in typer.main.get_command(target).commands  # type: ignore[attr-defined]


def test_the_entry_point_leads_to_what_it_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"][further.GROUP]["serve"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--address", "0.0.0.0"], "--token-file"),
        (["--address", "10.0.0.1"], "--token-file"),
        (["--host-name", "ct.example"], "--token-file"),
        (["--token-file", "missing"], "missing: cannot be read as a token"),
        (["--new-token", "--token-file", "missing"], "choose one"),
        (["--spool", "/dev/null/spool"], "cannot be a spool"),
        (["--weights", "missing", "--port", "0"], "missing"),
        (["--address", "203.0.113.1", "--new-token"], "cannot listen on 203.0.113.1"),
        (["--device", "toaster", "--port", "0"], "toaster"),
    ],
)
def test_what_cannot_begin_is_one_line(tmp_path: Path, words: list[str], says: str, monkeypatch: Any) -> None:
    monkeypatch.delenv("FLARE_TOKEN_FILE", raising=False)
    spool = [] if "--spool" in words else ["--spool", str(tmp_path / "spool")]
    done = CliRunner().invoke(serve.app, ["serve", *words, *spool])
    assert done.exit_code == 2, done.output
    assert done.output.count("\n") == 1
    assert says in done.output


def test_a_port_that_is_taken_is_said_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError) as caught, listening_on("127.0.0.1", port):
            pass
    assert str(caught.value) == (
        f"cannot listen on 127.0.0.1, port {port} (Address already in use); choose another --port"
    )


def test_a_second_service_on_a_spool_is_told_of_the_spool(tmp_path: Path) -> None:
    with outputs_locked(tmp_path, print):
        done = CliRunner().invoke(serve.app, ["serve", "--spool", str(tmp_path)])
    assert done.exit_code == 2
    assert f"{tmp_path}: another service has this spool (process " in done.output
    assert "name another spool with --spool" in done.output
    assert "output folder" not in done.output


def test_the_help_says_every_exit_code() -> None:
    said = " ".join(str(serve.serve.__doc__).split())
    assert "130 after a second Ctrl-C" in said


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "find_spec", lambda name: None if name == "uvicorn" else object())
    done = CliRunner().invoke(serve.app, ["serve"])
    assert (done.exit_code, done.output) == (2, 'error: serve needs uvicorn: pip install "flare-infer[serve]"\n')


def test_the_command_takes_no_time_to_import() -> None:
    script = "import sys, flare_serve.commands.serve\n"
    script += "heavy = {'torch', 'numpy', 'SimpleITK', 'fastapi', 'uvicorn', 'pydicom'} & set(sys.modules)\n"
    script += "sys.exit(f'imported {heavy}' if heavy else 0)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
