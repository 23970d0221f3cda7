"""Time and memory of commands whose cost is known; containers by their command line and a drawn control group."""

import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from flare_eval.commands.app import app
from flare_eval.efficiency.case_run import CaseRun, mean_of, read_runs, runs_to_csv
from flare_eval.efficiency.curve import Curve, Sampler
from flare_eval.efficiency.launch import Container, PlainCommand, StartedContainer, launcher_for
from flare_eval.efficiency.measure import Limits, images_to_run, measure_cases
from flare_eval.efficiency.memory import Gpu, cgroup_of, find_gpu, tree_memory_mb
from flare_eval.reports.paper_tables import table_5
from flare_infer.errors import DatasetError, UsageError

HOLD_100_MB = "block = bytearray(100 * 2**20); block[::4096] = b'x' * len(block[::4096]); import time; time.sleep(0.6)"
COPY = 'cp "$FLARE_INPUTS/a_0000.nii.gz" "$FLARE_OUTPUTS/a.nii.gz"'
MB = 2**20


def measure(folder: Path, line: str, **limits: float):
    (case,) = measure_cases(
        {"a": folder / "a.nii.gz"}, PlainCommand(line=line), folder / "out", limits=Limits(**limits)
    )
    return case


@pytest.fixture
def one_image(draw, save, tmp_path: Path) -> Path:
    save("a.nii.gz", draw("1.. ..."))
    return tmp_path


def test_a_plain_command_is_measured_with_its_children(one_image: Path) -> None:
    case = measure(one_image, f'{sys.executable} -c "{HOLD_100_MB}"; {COPY}')
    assert case.run.ok
    assert case.run.size == "3x2x1"
    assert case.run.seconds > 0.6
    assert 100 < case.run.ram_max_mb < 400
    assert case.run.ram_area_mb_s > 0.4 * 100
    assert (one_image / "out/outputs/a.nii.gz").is_file()


def test_a_child_whose_parent_has_ended_still_counts(one_image: Path) -> None:
    case = measure(one_image, f'({sys.executable} -c "{HOLD_100_MB}" &) ; sleep 0.8; {COPY}')
    assert case.run.ram_max_mb > 100


def test_without_a_gpu_its_columns_are_empty_not_zero(one_image: Path) -> None:
    run = measure(one_image, COPY).run
    assert (run.gpu_before_mb, run.gpu_max_mb, run.gpu_area_mb_s, run.gpu_area_weighted_mb_s) == (None,) * 4
    header, row = runs_to_csv([run]).splitlines()
    cells = dict(zip(header.split(","), row.split(","), strict=True))
    assert [cells[name] for name in cells if name.startswith("gpu")] == ["", "", "", ""]
    assert "| a | (3, 2, 1) |" in table_5([run])
    assert "|  |  |" in table_5([run])


def test_failures_say_why_and_the_next_case_runs(one_image: Path, save, draw) -> None:
    save("b.nii.gz", draw("1"))
    images = {name: one_image / f"{name}.nii.gz" for name in ("a", "b")}
    line = 'test -e "$FLARE_INPUTS/b_0000.nii.gz" && cp "$FLARE_INPUTS"/b_0000.nii.gz "$FLARE_OUTPUTS/b.nii.gz"'
    first, second = measure_cases(images, PlainCommand(line=line), one_image / "out")
    assert (first.run.exit_code, first.run.ok) == (1, False)
    assert "no output a.nii.gz" in first.run.note
    assert second.run.ok


def test_limits_end_a_command(one_image: Path) -> None:
    memory = measure(one_image, f'{sys.executable} -c "{HOLD_100_MB.replace("0.6", "60")}"', ram_gb=0.06).run
    assert "the limit is 0.06 GB" in memory.note
    slow = measure(one_image, "sleep 60", seconds=0.3).run
    assert "ran longer than 0.3 s" in slow.note
    assert max(memory.seconds, slow.seconds) < 50


def test_nothing_is_left_running(one_image: Path, tmp_path: Path) -> None:
    mark = tmp_path / "alive"
    measure(one_image, f'(sleep 1; touch "{mark}") & {COPY}')
    time.sleep(1.3)
    assert not mark.exists()


def test_areas_by_hand() -> None:
    curve = Curve(seconds=[0.0, 0.05, 0.1, 0.15, 0.25], mb=[100.0, 999.0, 200.0, 999.0, 300.0])
    assert curve.official_area_mb_s == 60.0  # (100 + 200 + 300) * 0.1
    assert Curve(seconds=[0.0, 1.0, 3.0], mb=[10.0, 20.0, 40.0]).weighted_area_mb_s == 15 + 60
    assert Curve().official_area_mb_s is None
    assert Curve().maximum_mb is None


def test_samples_are_taken_at_least_every_tenth_of_a_second() -> None:
    sampler = Sampler({"x": lambda: 1.0, "never": lambda: None})
    sampler.start()
    time.sleep(0.5)
    sampler.stop()
    assert len(sampler.curves["x"].mb) >= 2
    assert sampler.curves["never"].mb == []


def test_a_process_that_is_gone_has_no_memory(tmp_path: Path) -> None:
    assert tree_memory_mb(2**22 + 1) is None
    assert tree_memory_mb(1, proc=tmp_path / "none") is None


def test_the_tree_of_a_drawn_proc(tmp_path: Path) -> None:
    # 10 leads session 10; 11 is its child; 12 is the child of 11; 13 was left behind in the session; 99 is a stranger.
    for pid, parent, session in ((10, 1, 10), (11, 10, 10), (12, 11, 77), (13, 1, 10), (99, 1, 99)):
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / "stat").write_text(f"{pid} (a (b) c) S {parent} {session} {session} 0")
        (folder / "status").write_text("Name: x\nVmRSS:\t    2048 kB\n")
    assert tree_memory_mb(10, proc=tmp_path) == 8.0


@pytest.mark.parametrize(
    ("line", "place", "usage", "key"),
    [
        ("0::/system.slice/docker-1.scope", "system.slice/docker-1.scope", "memory.current", "inactive_file"),
        ("4:memory:/docker/1", "memory/docker/1", "memory.usage_in_bytes", "total_inactive_file"),
    ],
)
def test_a_containers_memory_is_that_of_its_group_without_cache(
    tmp_path: Path, line: str, place: str, usage: str, key: str
) -> None:
    group = tmp_path / "cgroup" / place
    group.mkdir(parents=True)
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/cgroup").write_text(f"9:cpu:/x\n{line}\n")
    (group / usage).write_text(f"{300 * MB}\n")
    (group / "memory.stat").write_text(f"anon 1\n{key} {100 * MB}\n")
    found = cgroup_of(7, tmp_path / "cgroup", tmp_path / "proc")
    assert found is not None
    assert found.read_mb() == 200.0
    (group / usage).unlink()
    assert found.read_mb() is None
    assert cgroup_of(8, tmp_path / "cgroup", tmp_path / "proc") is None


def test_a_containers_memory_is_never_that_of_its_client() -> None:
    started = StartedContainer(SimpleNamespace(pid=1), "no-such-runtime", "x")
    assert started.memory_mb() is None


def test_the_command_line_of_the_protocol() -> None:
    container = Container(runtime="docker", image="team:latest", ram_gb=28, gpu=1)
    assert container.command("team", Path("/in"), Path("/out")) == [
        *("docker", "container", "run", "--shm-size=28gb", "-m", "28G", "--gpus", "device=1", "--name", "team", "--rm"),
        *("-v", "/in:/workspace/inputs/", "-v", "/out:/workspace/outputs/"),
        *("team:latest", "/bin/bash", "-c", "sh predict.sh"),
    ]
    assert "--gpus" not in Container(runtime="docker", image="x", ram_gb=28, gpu=None).command("x", Path(), Path())


def test_exactly_one_of_image_and_command() -> None:
    for both in ((None, None), ("image", "command")):
        with pytest.raises(UsageError, match="exactly one"):
            launcher_for(*both, 28, None)


def test_an_image_without_a_runtime_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="docker or podman, found neither"):
        launcher_for("image", None, 28, None)


def test_a_gpu_is_read_as_total_minus_free() -> None:
    def info(handle, memory) -> int:
        memory._obj.total, memory._obj.free, memory._obj.used = 16000 * MB, 12000 * MB, 1
        return 0

    assert Gpu(SimpleNamespace(nvmlDeviceGetMemoryInfo=info), None).used_mb() == 4000.0
    assert Gpu(SimpleNamespace(nvmlDeviceGetMemoryInfo=lambda *_: 3), None).used_mb() is None
    assert find_gpu(0, "libnosuch.so") is None


def test_a_gpu_is_sampled_and_what_was_used_before_stands_apart(one_image: Path) -> None:
    gpu = SimpleNamespace(used_mb=lambda: 500.0)
    images = {"a": one_image / "a.nii.gz"}
    (case,) = measure_cases(images, PlainCommand(line=f"sleep 0.4; {COPY}"), one_image / "out", gpu)
    assert case.run.gpu_before_mb == case.run.gpu_max_mb == 500.0
    assert case.run.gpu_area_weighted_mb_s > 0.3 * 500


def test_files_round_trip(tmp_path: Path) -> None:
    numbers = {"ram_max_mb": 2.5, "ram_area_mb_s": 3.0, "gpu_before_mb": None, "gpu_max_mb": None}
    areas = {"gpu_area_mb_s": None, "gpu_area_weighted_mb_s": None}
    run = CaseRun(case="a", size="1x2x3", seconds=1.5, exit_code=0, output=True, note="x, y", **numbers, **areas)
    (tmp_path / "efficiency.csv").write_text(runs_to_csv([run]))
    assert read_runs(tmp_path / "efficiency.csv") == {"a": run}
    assert mean_of([run], "seconds") == 1.5
    assert mean_of([run], "gpu_max_mb") is None
    (tmp_path / "broken.csv").write_text("case,seconds\na,b\n")
    with pytest.raises(DatasetError, match="not a table of"):
        read_runs(tmp_path / "broken.csv")


def test_label_maps_beside_images_are_not_run(draw, save, tmp_path: Path) -> None:
    for name in ("a_0000", "a_labels"):
        save(f"cases/{name}.nii.gz", draw("1"))
    assert list(images_to_run(tmp_path / "cases")) == ["a"]
    save("plain/b.nii.gz", draw("1"))
    assert list(images_to_run(tmp_path / "plain")) == ["b"]


def test_the_command_writes_tables_curves_and_pictures(draw, save, tmp_path: Path) -> None:
    save("cases/a_0000.nii.gz", draw("1"))
    out = tmp_path / "out"
    options = ["efficiency", "--cases", str(tmp_path / "cases"), "--out", str(out), "--command"]
    result = CliRunner().invoke(app, [*options, f"sleep 0.2; {COPY}"])
    assert result.exit_code == 0, result.output
    assert "| a | (1, 1, 1) |" in result.stdout
    for name in ("efficiency.csv", "table5.md", "curves/a.csv", "curves/a.png", "outputs/a.nii.gz", "logs/a.txt"):
        assert (out / name).is_file()
    earlier = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    refused = CliRunner().invoke(app, [*options, "true"])
    assert refused.exit_code == 2, "a submission that writes nothing would be scored by the label maps of another"
    assert f"{out / 'outputs'}: holds files of an earlier run" in refused.stderr
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == earlier
    options[options.index(str(out))] = str(tmp_path / "other")
    failed = CliRunner().invoke(app, [*options, "exit 3"])
    assert failed.exit_code == 1
    assert not list((tmp_path / "other" / "outputs").iterdir())
    assert "error: a: exit code 3, no output a.nii.gz" in failed.stderr


def test_children_of_children_count_and_what_is_shared_counts_once(tmp_path: Path) -> None:
    # Each in a session of its own: 11 is the child of 10, 12 of 11, 13 of 12. All share the same 4 MB.
    for pid, parent in ((10, 1), (11, 10), (12, 11), (13, 12)):
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / "stat").write_text(f"{pid} (sh) S {parent} {pid} {pid} 0")
        (folder / "status").write_text("VmRSS:\t    4096 kB\n")
        (folder / "smaps_rollup").write_text("Rss:\t 4096 kB\nPss:\t    1024 kB\n")
    assert tree_memory_mb(10, proc=tmp_path) == 4.0
    assert tree_memory_mb(12, proc=tmp_path) == 2.0
    assert tree_memory_mb(13, proc=tmp_path) == 4.0, "alone, nothing is shared with another member"
