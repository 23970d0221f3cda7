"""The cores of the job, not of the machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from flare_infer.backends.cores import cores_of_job, use_cores_of_job

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 64 cores, all of them allowed."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)), raising=False)


def cores(tmp_path: Path, groups: str, **files: str) -> int:
    """Cores with these lines in /proc/self/cgroup and these files among the control groups, named with __ for /."""
    (tmp_path / "groups").write_text(groups)
    for name, text in files.items():
        path = tmp_path / "cgroup" / name.replace("__", "/").replace("_max", ".max").replace("cpu_cfs", "cpu.cfs")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return cores_of_job(tmp_path / "cgroup", tmp_path / "groups")


def test_without_control_groups_the_affinity_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 40})
    assert cores_of_job(tmp_path / "none", tmp_path / "none") == 3


def test_where_no_affinity_is_known_the_machine_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores_of_job(tmp_path / "none", tmp_path / "none") == 64


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("50000 100000\n", 1),
        ("100000 50000\n", 2),
        ("max 100000\n", 64),
        ("9900000 100000\n", 64),
        ("", 64),
        ("nonsense\n", 64),
        ("0 100000\n", 64),
    ],
)
def test_a_quota_of_version_2(limit: str, expected: int, tmp_path: Path) -> None:
    assert cores(tmp_path, "0::/\n", cpu_max=limit) == expected


def test_the_least_quota_of_all_groups_above_counts(tmp_path: Path) -> None:
    files = {"kube__cpu_max": "400000 100000", "kube__pod__cpu_max": "1600000 100000", "cpu_max": "max 100000"}
    assert cores(tmp_path, "0::/kube/pod\n", **files) == 4


def test_a_container_that_sees_its_path_outside_finds_the_limit_at_the_mount(tmp_path: Path) -> None:
    assert cores(tmp_path, "0::/docker/0123abc\n", cpu_max="300000 100000") == 3


@pytest.mark.parametrize(("quota", "expected"), [("250000", 3), ("-1", 64)])
@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("4:cpu,cpuacct:/slurm/job", "cpu__slurm__job"),
        ("4:cpu,cpuacct:/slurm/job", "cpu,cpuacct__slurm"),
        ("1:cpu:/", "cpu"),
    ],
)
def test_a_quota_of_version_1(line: str, place: str, quota: str, expected: int, tmp_path: Path) -> None:
    files = {f"{place}__cpu_cfs_quota_us": quota, f"{place}__cpu_cfs_period_us": "100000"}
    assert cores(tmp_path, f"9:memory:/elsewhere\n{line}\n0::/\n", **files) == expected


def test_affinity_and_quota_bind_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    assert cores(tmp_path, "0::/\n", cpu_max="800000 100000") == 2


def test_torch_uses_no_more_threads_than_the_job_has_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        for job, threads in ((3, 3), (8, 3)):
            monkeypatch.setattr("flare_infer.backends.cores.cores_of_job", lambda job=job: job)
            use_cores_of_job()
            assert torch.get_num_threads() == threads
        monkeypatch.setattr("flare_infer.backends.cores.cores_of_job", lambda: 1)
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        use_cores_of_job()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_nobody_else_counts_cores() -> None:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    if not listed:
        pytest.skip("not a git checkout")
    words = ("cpu_count(", "sched_getaffinity(")
    counting = [
        name for name in listed.split() if any(word in (ROOT / name).read_text(encoding="utf-8") for word in words)
    ]
    assert [
        name for name in counting if not name.startswith("tests/") and name != "flare_infer/backends/cores.py"
    ] == []


@pytest.mark.skipif(sys.platform != "linux", reason="affinity is asked of Linux")
def test_this_process_is_counted_as_the_system_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    script = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); import flare_infer.backends.cores as c; "
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{script}print(c.cores_of_job())"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "1\n"
