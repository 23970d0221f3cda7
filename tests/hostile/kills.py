"""Runs killed at any moment and started again: what they leave behind, then and at the end."""

import hashlib
import json
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from flare_infer.runs.ledger import LEDGER_FILE
from flare_infer.runs.report import REPORT_FILE, TABLE_FILE
from tests.hostile.inputs import small_scans, tiny_model
from tests.hostile.trial import Trial
from tests.hostile.warm import Ended, Warm

_SHARE = 0.6
"""A run gets at most this share of the time that an undisturbed one takes, until it is killed."""

_MOST_RUNS = 2000
"""A folder that is not done after so many runs never will be."""


@dataclass(kw_only=True)
class Ground:
    """Scans, a model, and what an undisturbed run makes of them.

    Attributes:
        warm: starts runs.
        inputs: folder of scans.
        weights: folder of the model.
        expected: hash of each label map by its file's name.
        seconds: what the undisturbed run took.
        peaceful: the folder it wrote to.
    """

    warm: Warm
    inputs: Path
    weights: Path
    expected: dict[str, str]
    seconds: float
    peaceful: Path
    _folders: int = 0

    def new_outputs(self) -> Path:
        """The name of a folder that is not there yet."""
        self._folders += 1
        return self.inputs.with_name(f"outputs-{self._folders}")

    def command(self, outputs: Path) -> tuple[object, ...]:
        """The arguments of `flare-infer`."""
        return ("predict", self.inputs, outputs, "--weights", self.weights, "--device", "cpu")


def make_ground(folder: Path, warm: Warm, cases: int, larger: int = 1) -> Ground:
    """Prepare a folder; `larger` multiplies each length of the scans."""
    small_scans(folder / "inputs", cases, larger=larger)
    ground = Ground(
        warm=warm,
        inputs=folder / "inputs",
        weights=tiny_model(folder / "model"),
        expected={},
        seconds=0.0,
        peaceful=folder / "peaceful",
    )
    for outputs in (ground.new_outputs(), ground.peaceful):  # the first waits for what is imported
        started = time.perf_counter()
        ended = warm.run(*ground.command(outputs))
        ground.seconds = time.perf_counter() - started
        if ended.code != 0:
            raise RuntimeError(f"an undisturbed run failed: {ended.stderr}")
    ground.expected = hashes(ground.peaceful)
    if len(set(ground.expected.values())) != cases:
        raise RuntimeError(f"expected {cases} different label maps, found {len(set(ground.expected.values()))}")
    return ground


def hashes(outputs: Path) -> dict[str, str]:
    """The hash of each label map in a folder, by name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in outputs.glob("*.nii.gz")}


@dataclass(kw_only=True)
class Toll:
    """What was counted over many kills.

    Attributes:
        kills: runs that were killed.
        folders: outputs folders that were brought to their end.
        runs: runs in all.
        wrong: what should not have happened.
    """

    kills: int = 0
    folders: int = 0
    runs: int = 0
    wrong: list[str] = field(default_factory=list)


def at_random(ground: Ground, kills: int, seed: int) -> Trial:
    """Kill runs at random moments until there were so many kills, and let every folder come to its end."""
    rng = random.Random(seed)
    toll = Toll()
    barren = 0

    def next_run(outputs: Path) -> Ended:
        nonlocal barren
        before = len(hashes(outputs))
        run = ground.warm.start(*ground.command(outputs))
        # Short enough that a folder takes many runs; longer and longer while they get nowhere, as on a busy machine.
        time.sleep(rng.uniform(0, _SHARE * ground.seconds * 1.2**barren))
        run.signal(signal.SIGKILL)
        ended = run.wait()
        barren = 0 if len(hashes(outputs)) > before else barren + 1
        return ended

    while toll.kills < kills:
        _to_the_end(ground, ground.new_outputs(), next_run, toll)
    happened = (
        f"{toll.kills} kills, {toll.runs} runs, {toll.folders} folders of {len(ground.expected)} cases came whole"
    )
    return Trial(
        area="kills", tried=f"SIGKILL at random moments (seed {seed})", happened=happened, wrong=(*toll.wrong,)
    )


def at_every_file_operation(ground: Ground, step: int = 1) -> Trial:
    """Kill a first run right before its n-th file operation, for each n, and let a second one do the rest."""
    toll = Toll()
    number, reached = 1, True
    while reached:
        before = toll.kills
        hazards = iter([{"kill_at": number}])

        def next_run(outputs: Path, hazards: Iterator[dict[str, int]] = hazards) -> Ended:
            return ground.warm.run(*ground.command(outputs), **next(hazards, {}))

        _to_the_end(ground, ground.new_outputs(), next_run, toll)
        reached = toll.kills > before
        number += step
    happened = (
        f"{toll.kills} kills, {toll.runs} runs, {toll.folders} folders of {len(ground.expected)} cases came whole"
    )
    tried = f"SIGKILL before every {'' if step == 1 else f'{step}th '}file operation of a run"
    return Trial(area="kills", tried=tried, happened=happened, wrong=tuple(toll.wrong))


def _to_the_end(ground: Ground, outputs: Path, next_run: Callable[[Path], Ended], toll: Toll) -> None:
    """Run until a run ends by itself; look at what each leaves."""
    open_before: set[str] = set()
    for _ in range(_MOST_RUNS):
        ended = next_run(outputs)
        toll.runs += 1
        found = list(_findings_after(ground, outputs, ended))
        if ended.code != -signal.SIGKILL:
            found += [f"{name} was left open and not named" for name in open_before if not _is_named(name, ended)]
        toll.wrong += [f"{outputs.name}, run {toll.runs}: {line}" for line in found]
        if ended.code != -signal.SIGKILL:
            break
        toll.kills += 1
        open_before = _left_open(outputs)
    toll.folders += 1
    toll.wrong += [f"{outputs.name}, at the end: {line}" for line in _findings_at_the_end(ground, outputs, ended)]


def _left_open(outputs: Path) -> set[str]:
    """The cases that a killed run had started and not ended."""
    journal = outputs / LEDGER_FILE
    statuses = {}
    if journal.exists():
        for line in journal.read_text(encoding="utf-8").splitlines():
            if line.endswith("}"):
                record = json.loads(line)
                statuses[record["name"]] = record["status"]
    return {name for name, status in statuses.items() if status == "started"}


def _is_named(name: str, ended: Ended) -> bool:
    return f"{name}: was started" in ended.stderr


def _findings_after(ground: Ground, outputs: Path, ended: Ended) -> Iterator[str]:
    """What is wrong right after a run: a label map is whole and right, or it is not there."""
    if ended.code not in {0, -signal.SIGKILL}:
        yield f"exit code {ended.code}: {ended.stderr}"
    if not outputs.exists():
        return
    for name, sha256 in hashes(outputs).items():
        if ground.expected.get(name) != sha256:
            yield f"{name} is not what an undisturbed run writes"
    report = outputs / REPORT_FILE
    if report.exists():
        named = {case["name"] for case in json.loads(report.read_text(encoding="utf-8"))["cases"]}
        if missing := {name.removesuffix(".nii.gz") for name in ground.expected} - named:
            yield f"the report does not name {', '.join(sorted(missing))}"


def _findings_at_the_end(ground: Ground, outputs: Path, ended: Ended) -> Iterator[str]:
    """What is wrong once a run ended by itself, and after one more, which has nothing to do."""
    if ended.code != 0:
        yield f"exit code {ended.code}: {ended.stderr}"
    if not outputs.exists():
        yield "there is no folder"
        return
    found = sorted(path.name for path in outputs.iterdir())
    if found != sorted([*ground.expected, REPORT_FILE, TABLE_FILE]):
        yield f"the folder holds {found}"
    cases = json.loads((outputs / REPORT_FILE).read_text(encoding="utf-8"))["cases"]
    for case in cases:
        name = f"{case['name']}.nii.gz"
        if case["status"] not in {"written", "done before"} or case["output_sha256"] != ground.expected.get(name):
            yield f"the report says of {name}: {case['status']} {case['reason']}, {case['output_sha256']}"
    if len(cases) != len(ground.expected):
        yield f"the report names {len(cases)} cases"
    times = {path.name: path.stat().st_mtime_ns for path in outputs.glob("*.nii.gz")}
    again = ground.warm.run(*ground.command(outputs))
    if again.code != 0 or again.stderr or again.stdout.count(": done before\n") != len(ground.expected):
        yield f"a further run had something to do: {again.code} {again.stdout} {again.stderr}"
    if {path.name: path.stat().st_mtime_ns for path in outputs.glob("*.nii.gz")} != times:
        yield "a further run wrote something"
