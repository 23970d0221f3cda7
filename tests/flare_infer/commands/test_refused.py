"""What `flare-infer predict` refuses before it looks at scans or makes a folder."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from flare_infer.commands.app import app
from flare_infer.formats.volume_io import write_volume
from flare_infer.volume.volume import Volume


def refused(*arguments: object) -> str:
    """What is said of a run that is refused."""
    result = CliRunner().invoke(app, ["predict", *map(str, arguments)])
    assert result.exit_code == 2, result.output
    return result.stderr


@pytest.fixture
def scans(tmp_path: Path, scan: Volume) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    write_volume(folder / "one.mha", scan)
    return folder


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--part 3/2", "--part 3/2: expected I/N"),
        ("--part auto", "--part auto: SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX is not set"),
        ("--share --again", "--again with --share"),
        ("--ray foo", "--ray "),  # no address; or Ray is not installed
        ("--ray 127.0.0.1:1", "--ray "),
        ("--worker-cpus 2", "add --ray"),
        ("--gpu-fraction 0.5", "add --ray"),
        ("--gpu-fraction 0", "add --ray"),
        ("--to dicom-seg", "--to dicom-seg: needs DICOM series as inputs"),
        ("--to masks --organs tail", "tail"),
    ],
)
def test_a_refused_run_says_one_line_and_makes_no_folder(
    tmp_path: Path, scans: Path, tiny_weights: Path, options: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX"):
        monkeypatch.delenv(name, raising=False)
    stderr = refused(scans, tmp_path / "new" / "labels", "--weights", tiny_weights, *options.split())
    assert stderr.startswith("error: ")
    assert said in stderr
    assert len(stderr.splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_a_folder_that_was_there_stays_though_the_run_is_refused(
    tmp_path: Path, scans: Path, tiny_weights: Path
) -> None:
    (tmp_path / "labels").mkdir()
    refused(scans, tmp_path / "labels", "--weights", tiny_weights, "--to", "dicom-seg")
    assert (tmp_path / "labels").is_dir()


def test_a_worker_without_a_cpu_is_refused(tmp_path: Path, scans: Path) -> None:
    assert "--worker-cpus" in refused(scans, tmp_path / "labels", "--ray", "auto", "--worker-cpus", "0")
    assert not (tmp_path / "labels").exists()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("s3:/b/l", "s3://b/l"),
        ("S3:b/l", "S3://b/l"),
        ("gs:/b", "gs://b"),
        ("gcs:/b", "gcs://b"),
        ("az:/b", "az://b"),
        ("file:/data/l", "file:///data/l"),
        ("http:/host/l", "http://host/l"),
        ("https:/host/l", "https://host/l"),
    ],
)
def test_a_url_that_lacks_a_slash_is_no_folder(
    tmp_path: Path, scans: Path, written: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    expected = f"error: {written}: was {meant} meant? if it is a folder of that name, write ./{written}\n"
    assert refused(scans, written) == expected
    assert refused(written, "labels") == expected
    assert sorted(tmp_path.iterdir()) == before
