"""A real Ray cluster on this machine, parts of which are killed while it works."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from flare_infer.cluster.ray_crew import RayCrew, Share
from flare_infer.cluster.task import Job, Task
from flare_infer.errors import UsageError
from flare_infer.runs.further import LABEL_MAPS
from flare_infer.runs.ready import ModelChoice
from flare_infer.runs.report import CaseRecord
from flare_infer.shell.interrupt import Interrupted, interruptible

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 600

GPUS, CORES = {"CPU": 16.0, "GPU": 2.0}, {"CPU": 8.0}


def crew(share: Share, machines: list[dict[str, float]], monkeypatch: pytest.MonkeyPatch, device: str) -> RayCrew:
    job = Job(choice=ModelChoice(device=device), forms=LABEL_MAPS, outputs="labels")
    made = RayCrew("auto", share, job, print)
    monkeypatch.setattr(made, "_machines", lambda: machines)
    return made


@pytest.mark.parametrize(
    ("share", "device", "machines", "workers"),
    [
        (Share(), "auto", [GPUS, GPUS], 4),
        (Share(), "cpu", [GPUS, CORES], 3),  # eight CPUs each, as many as the smaller one has
        (Share(gpu=0.5), "auto", [GPUS], 4),
        (Share(cpus=2), "cpu", [CORES, CORES], 8),
        (Share(cpus=2, gpu=1), "auto", [GPUS, CORES], 2),
        (Share(), "auto", [{"CPU": 0.0}, CORES], 1),
    ],
)
def test_machines_have_room_for_as_many_workers_as_they_can_feed(
    share: Share, device: str, machines: list[dict[str, float]], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert crew(share, machines, monkeypatch, device)._room() == workers


def test_a_share_that_no_machine_has_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"no machine of the cluster has 9 CPU\(s\) for a worker"):
        crew(Share(cpus=9), [CORES], monkeypatch, "cpu").setting()


def compiled_call(number: int) -> None:
    """A signal comes while compiled code of Ray waits, which cannot pass on what the handler raises."""
    try:
        signal.raise_signal(number)
    except BaseException as error:
        raise SystemError("<cyfunction CoreWorker.wait> returned a result with an exception set") from error


@pytest.fixture
def heard() -> Iterator[None]:
    """Ctrl-C is not ignored, as it is for whatever a shell has started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("what", ["wait", "give", "stop", "nodes", "end"])
def test_a_signal_in_a_call_of_ray_asks_the_run_to_stop(
    what: str, number: signal.Signals, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []

    def called_in(name: str) -> None:
        if name == what and name not in called:
            compiled_call(number)
        called.append(name)

    def wait(references: Sequence[object], **_: object) -> tuple[Sequence[object], Sequence[object]]:
        called_in("wait")
        return [], references

    def call(name: str) -> SimpleNamespace:
        return SimpleNamespace(remote=lambda *_: called_in(name))

    made = RayCrew("auto", Share(), Job(choice=ModelChoice(device="cpu"), forms=LABEL_MAPS, outputs=""), print)
    made._ray = SimpleNamespace(wait=wait, nodes=lambda: called_in("nodes") or [], shutdown=lambda: called_in("end"))
    worker = SimpleNamespace(run=call("give"), stop=call("stop"))
    monkeypatch.setattr(made, "_actors", {0: worker})
    monkeypatch.setattr(made, "_ready", [0])
    task = Task(name="a", source=Path("a.nii.gz"), record=CaseRecord(name="a", image="a.nii.gz"))

    def work() -> None:
        with interruptible():
            made.give(0, task)
            made.events(0.0)
            made.stop()
            made._actors.clear()
            made.__exit__(None, None, None)

    with pytest.raises(Interrupted) as caught:
        work()
    assert caught.value.exit_code == code
    assert what in called  # it went on to its end


def test_an_address_without_a_cluster_is_refused_at_once() -> None:
    pytest.importorskip("ray", reason="a cluster needs Ray")
    said = subprocess.run([sys.executable, "-c", _ENTER], capture_output=True, text=True, check=True, timeout=120)
    nobody, no_address = said.stdout.splitlines()[-2:]
    assert nobody.startswith("--ray 127.0.0.1:1: no Ray cluster there ([Errno 111] Connection refused)")
    assert no_address.startswith("--ray head: no Ray cluster there (expected HOST:PORT)")


_ENTER = """
from flare_infer.cluster.ray_crew import RayCrew, Share
from flare_infer.cluster.task import Job
from flare_infer.errors import UsageError
from flare_infer.runs.further import LABEL_MAPS
from flare_infer.runs.ready import ModelChoice

for address in ("127.0.0.1:1", "head"):
    try:
        RayCrew(address, Share(), Job(choice=ModelChoice(), forms=LABEL_MAPS, outputs=""), print).__enter__()
    except UsageError as error:
        print(error)
"""


@pytest.mark.slow
def test_a_cluster_that_loses_processes_and_a_machine_does_every_case_once(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="a cluster needs Ray")
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.ray_losses", "30", tmp_path / "report.md"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "| not as it should be | nothing |" in (tmp_path / "report.md").read_text()
