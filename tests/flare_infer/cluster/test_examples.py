"""The files of docs/examples that start a cluster do what they say; Slurm and Ray are replaced by what notes calls."""

import os
import subprocess
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[3] / "docs" / "examples"

_NOTES = '#!/bin/bash\necho "$(basename "$0") $*" >> "$CALLS"\n'
_RAY = _NOTES + 'case "$*" in *--block*) trap "kill \\$!; exit 0" TERM; sleep 60 & wait; esac\n'
_SRUN = _NOTES + 'while [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"\n'


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in {"flare-infer": _NOTES + "sleep 0.5\n", "ray": _RAY, "srun": _SRUN}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return tmp_path / "calls"


def run(name: str, **variables: str) -> None:
    command = ["bash", EXAMPLES / name, "CTS", "LABELS", "--statistics"]
    subprocess.run(command, check=True, timeout=60, env=os.environ | variables)


def test_a_job_of_the_array_shares_the_work(calls: Path) -> None:
    run("slurm_array.sh")
    assert calls.read_text() == "flare-infer predict CTS LABELS --statistics --share\n"


def test_machines_of_slurm_become_a_cluster_that_ends_with_the_run(calls: Path) -> None:
    run("ray_cluster.sh", SLURM_JOB_ID="17", SLURM_JOB_NUM_NODES="3", SLURM_CPUS_PER_TASK="8")
    said = calls.read_text().splitlines()
    (head,) = [line for line in said if "--head" in line]
    (others,) = [line for line in said if line.startswith("srun")]
    (predict,) = [line for line in said if line.startswith("flare-infer")]
    address = predict.rpartition(" ")[2]
    assert predict == f"flare-infer predict CTS LABELS --statistics --ray {address}"
    assert f"--node-ip-address={address.partition(':')[0]} --port={address.partition(':')[2]}" in head
    assert f"--address={address}" in others
    assert "--nodes=2 --ntasks=2" in others
    assert all("--num-cpus=8" in line and "--disable-usage-stats" in line for line in (head, others))


def test_without_slurm_the_cluster_is_this_machine(calls: Path) -> None:
    run("ray_cluster.sh")
    assert "srun" not in calls.read_text()
    assert "flare-infer predict CTS LABELS --statistics --ray" in calls.read_text()
