"""Failures of printing: output that is closed, full or not read changes nothing about the files that are written."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flare_infer.formats.volume_io import write_volume
from flare_infer.model.network import UNet
from flare_infer.model.weights import save_model
from flare_infer.volume.volume import Placement, Volume
from tests.dataset import make_dataset
from tests.tiny import LPS, tiny_spec

Stream = Callable[[], Any]

PLACE = Placement(spacing_mm=(5.0, 2.5, 2.0), origin_mm=(0.0, 0.0, 0.0), axes=LPS)
MODULES = ("flare_infer", "flare_eval", "train")


@contextmanager
def pipe_whose_reader_has_left() -> Iterator[int]:
    """What `| head -1` leaves behind."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        yield writing
    finally:
        os.close(writing)


@contextmanager
def full_disk() -> Iterator[int]:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def terminal_that_is_gone() -> Iterator[int]:
    """A terminal whose window was closed."""
    window, terminal = os.openpty()
    os.close(window)
    try:
        yield terminal
    finally:
        os.close(terminal)


def command(module: str, *arguments: object) -> list[str]:
    start = f"import sys; sys.argv[0] = 'command'; from {module}.commands.app import main; main()"
    return [sys.executable, "-c", start, *(str(argument) for argument in arguments)]


def run(words: list[str], stdout: Any = subprocess.PIPE, stderr: Any = subprocess.PIPE) -> tuple[int, str]:
    # Progress bars are drawn even if no terminal shows them.
    bars = {"FORCE_COLOR": "1"} if stderr != subprocess.PIPE else {}
    done = subprocess.run(words, stdout=stdout, stderr=stderr, text=True, check=False, env={**os.environ, **bars})
    return done.returncode, done.stderr or ""


@pytest.fixture
def prediction(tmp_path: Path) -> list[str]:
    """The command that segments three scans with a tiny model into `tmp_path / "out"`."""
    torch.manual_seed(0)
    spec = tiny_spec()
    save_model(tmp_path / "tiny", spec, UNet(spec.network, spec.classes))
    (tmp_path / "in").mkdir()
    noise = np.random.default_rng(0).normal(40, 60, (9, 31, 27)).astype(np.int16)
    for name in "abc":
        scan = Volume(array_zyx=noise, placement=PLACE)
        write_volume(tmp_path / "in" / f"{name}_0000.nii.gz", scan)
    options = ("--weights", tmp_path / "tiny", "--device", "cpu")
    return command("flare_infer", "predict", tmp_path / "in", tmp_path / "out", *options)


def written(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "out").iterdir())


ALL = ["a.nii.gz", "b.nii.gz", "c.nii.gz", "report.csv", "report.json"]


def test_every_scan_is_segmented_when_the_reader_leaves(prediction: list[str], tmp_path: Path) -> None:
    with pipe_whose_reader_has_left() as stdout:
        assert run(prediction, stdout) == (0, "")
    assert written(tmp_path) == ALL


def test_every_scan_is_segmented_when_the_output_cannot_be_kept_and_one_line_says_so(
    prediction: list[str], tmp_path: Path
) -> None:
    with full_disk() as stdout:
        code, stderr = run(prediction, stdout)
    assert code == 0
    assert written(tmp_path) == ALL
    assert (
        stderr == "error: standard output: cannot be written (No space left on device); the work goes on without it\n"
    )


def test_a_scan_that_fails_is_in_the_exit_code_even_if_it_cannot_be_printed(
    prediction: list[str], tmp_path: Path
) -> None:
    (tmp_path / "in" / "broken.nii.gz").write_bytes(b"this is no image")
    with full_disk() as stdout, full_disk() as stderr:
        assert run(prediction, stdout, stderr)[0] == 1
    assert written(tmp_path) == ALL


def test_every_scan_is_segmented_when_the_terminal_is_gone(prediction: list[str], tmp_path: Path) -> None:
    with terminal_that_is_gone() as terminal:
        assert run(prediction, terminal, terminal)[0] == 0
    assert written(tmp_path) == ALL


def test_every_scan_is_segmented_when_output_and_errors_are_closed(prediction: list[str], tmp_path: Path) -> None:
    assert run(["sh", "-c", '"$@" >&- 2>&- <&-', "sh", *prediction])[0] == 0
    assert written(tmp_path) == ALL


def test_an_error_is_not_printed_among_the_results_when_errors_are_closed() -> None:
    words = ["sh", "-c", '"$@" 2>&-', "sh", *command("flare_infer", "predict", "nowhere", "out")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")


def test_a_name_that_the_output_cannot_spell_stops_nothing(prediction: list[str], tmp_path: Path) -> None:
    (tmp_path / "in" / "a_0000.nii.gz").rename(tmp_path / "in" / "Prüfung_0000.nii.gz")
    environment = {**os.environ, "PYTHONIOENCODING": "iso8859-5"}
    done = subprocess.run(prediction, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Pr\\xfcfung.nii.gz: written in" in done.stdout
    assert "Prüfung.nii.gz" in written(tmp_path)


@pytest.mark.parametrize("stream", [pipe_whose_reader_has_left, full_disk, terminal_that_is_gone])
def test_scores_are_written_whatever_becomes_of_the_table(stream: Stream, tmp_path: Path) -> None:
    codes = np.zeros((4, 5, 6), dtype=np.uint8)
    codes[1:3, 1:3, 1:3] = 1
    for folder in ("predictions", "references"):
        (tmp_path / folder).mkdir()
        volume = Volume(array_zyx=codes, placement=PLACE)
        write_volume(tmp_path / folder / "a.nii.gz", volume)
    words = ("score", tmp_path / "predictions", tmp_path / "references", "--out", tmp_path / "out", "--jobs", 1)
    with stream() as stdout, stream() as stderr:
        assert run(command("flare_eval", *words), stdout, stderr)[0] == 0
    assert {"scores.csv", "summary.md", "table3.tex", "cases.png", "dsc.png"} <= set(written(tmp_path))


@pytest.mark.parametrize("stream", [pipe_whose_reader_has_left, full_disk, terminal_that_is_gone])
def test_a_model_is_trained_whatever_becomes_of_its_log(stream: Stream, tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"organs": (1, 2, 3, 13), "tumor": (1, 14)})
    annotated = dataset / "annotated.json"
    annotated.unlink()
    store, trained = tmp_path / "store", tmp_path / "run"
    with stream() as stdout, stream() as stderr:
        assert run(command("train", "scan", dataset, "--write"), stdout, stderr)[0] == 0
        assert set(json.loads(annotated.read_text())) == {"organs", "tumor"}
        assert run(command("train", "prepare", dataset, store, "--recipe", "smoke"), stdout, stderr)[0] == 0
        fit = ("fit", store, trained, "--recipe", "smoke", "--steps", 2, "--device", "cpu")
        assert run(command("train", *fit), stdout, stderr)[0] == 0
        assert run(command("train", "export", trained, store, tmp_path / "out"), stdout, stderr)[0] == 0
    assert written(tmp_path) == ["MODEL_CARD.md", "model.json", "model.safetensors"]


@pytest.mark.parametrize("stream", [pipe_whose_reader_has_left, full_disk])
@pytest.mark.parametrize("module", MODULES)
def test_help_may_be_cut(module: str, stream: Stream) -> None:
    for arguments in (("--help",), ()):
        with stream() as stdout:
            code, stderr = run(command(module, *arguments), stdout)
        assert code in {0, 2 * (not arguments)}
        assert "Traceback" not in stderr


def test_a_wrong_option_is_exit_code_2_even_if_it_cannot_be_printed() -> None:
    with full_disk() as stream:
        assert run(command("flare_infer", "predict", "--no-such-option"), stream, stream)[0] == 2
