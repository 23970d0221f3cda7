"""What sums up a folder shows what is there now, and displaces nothing of others."""

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flare_infer.commands.app import app
from flare_infer.formats.volume_io import write_volume
from flare_infer.volume.volume import Volume


@pytest.fixture
def inputs(tmp_path: Path, scan: Volume) -> Path:
    pytest.importorskip("PIL", reason="Pillow, of the extra picture, is not installed")
    (tmp_path / "inputs").mkdir()
    write_volume(tmp_path / "inputs" / "a.nii.gz", scan)
    write_volume(tmp_path / "inputs" / "b.nii.gz", scan)
    return tmp_path / "inputs"


def run(inputs: Path, outputs: Path, weights: Path, *options: str) -> int:
    arguments = ["predict", inputs, outputs, "--weights", weights, "--device", "cpu", *options]
    return CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False).exit_code


def rows(outputs: Path) -> list[str]:
    return [line.partition(",")[0] for line in (outputs / "statistics.csv").read_text().splitlines()[1:]]


def test_a_later_run_takes_out_what_is_there_no_longer(
    inputs: Path, tmp_path: Path, tiny_weights: Path, scan: Volume
) -> None:
    outputs = tmp_path / "outputs"
    assert run(inputs, outputs, tiny_weights, "--report", "--preview") == 0
    assert {"a", "b"} == set(rows(outputs))
    assert "a.report.html" in (outputs / "index.html").read_text()
    write_volume(inputs / "a.nii.gz", replace(scan, array_zyx=scan.array_zyx[:, ::-1].copy()))
    assert run(inputs, outputs, tiny_weights) == 0
    assert set(rows(outputs)) == {"b"}
    assert "a.report.html" not in (outputs / "index.html").read_text()
    (inputs / "b.nii.gz").write_bytes(b"no image")
    assert run(inputs, outputs, tiny_weights) == 1
    assert rows(outputs) == []
    assert "b.report.html" not in (outputs / "index.html").read_text()


def test_files_of_others_are_kept(inputs: Path, tmp_path: Path, tiny_weights: Path) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    for name in ("index.html", "statistics.csv"):
        (outputs / name).write_text("of somebody")
    assert run(inputs, outputs, tiny_weights) == 0
    assert (outputs / "index.html").read_text() == (outputs / "statistics.csv").read_text() == "of somebody"
    assert run(inputs, outputs, tiny_weights, "--report") == 0
    for name in ("index.html", "statistics.csv"):
        assert (outputs / f"{name}.old").read_text() == "of somebody"
        assert (outputs / name).read_text() != "of somebody"


@pytest.mark.parametrize("options", [("--organs", "liver"), ("--labelmap",), ("--organs", "liver", "--to", "nifti")])
def test_options_without_a_form_they_are_about_are_refused(
    inputs: Path, tmp_path: Path, tiny_weights: Path, options: tuple[str, ...]
) -> None:
    assert run(inputs, tmp_path / "outputs", tiny_weights, *options) == 2
