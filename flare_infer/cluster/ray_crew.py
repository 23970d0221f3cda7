"""Workers that Ray places on the machines of a cluster.

Ray starts processes and carries messages; what is tried again, and how often, is decided here (`dispatch`): its own
retries were seen to lose a case when a node died.
"""

import itertools
import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Final, Self

from flare_infer.backends.cores import cores_of_job
from flare_infer.cluster.actor import Actor
from flare_infer.cluster.head import address_of_head, no_cluster, refuse_if_nobody_listens
from flare_infer.cluster.task import Answer, Answered, Job, Lost, Setting, Task
from flare_infer.cluster.worker import DEPTH
from flare_infer.errors import UsageError, one_line
from flare_infer.runs.case_result import CaseResult
from flare_infer.shell.interrupt import postponed

_OBJECT_STORE_BYTES: Final = 80 * 2**20
"""Of a Ray that is started here: about the least that it takes. Messages are too small to need it."""

_GROW_SECONDS: Final = 5.0
_WAIT_SECONDS: Final = 0.5
_START_SECONDS: Final = 600.0
"""So long no worker may be there: a cluster that grows by itself takes minutes."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """What of a machine a worker gets.

    Attributes:
        cpus: CPUs; 0: an even share of a machine for each of its workers.
        gpu: the part of a GPU, or number of GPUs; 0 for none; None: one if there are some and the device is not the
            CPU.
    """

    cpus: int = 0
    gpu: float | None = None


class RayCrew:
    """The workers of a run in a Ray cluster; as a context it ends them.

    Args:
        address: HOST:PORT of the cluster's head; `head.AUTO` is the one of
            RAY_ADDRESS, else a new one, of this machine.
        share: what of a machine a worker gets.
        job: what the workers do.
        say: callback, called with a line about a worker that could not start.
    """

    def __init__(self, address: str, share: Share, job: Job, say: Callable[[str], None]) -> None:
        # Two scans at once would break a bound on memory.
        self.depth = DEPTH if job.choice.ram_budget_mib is None else 1
        self._address = address
        self._share = share
        self._job = job
        self._say = say
        self._setting: Setting | None = None
        self._actors: dict[int, Any] = {}
        self._ready: list[int] = []
        self._opening: dict[Any, int] = {}
        self._running: dict[Any, tuple[int, Task]] = {}
        self._numbers = itertools.count()
        self._refusals = 0
        self._stopping = False
        self._grown_at = -math.inf
        self._had_some_at = time.monotonic()

    def __enter__(self) -> Self:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
        refuse_if_nobody_listens(self._address)
        import ray

        self._ray: Any = ray
        try:
            with postponed():  # Ray takes SIGTERM for itself, which ends with this, too
                self._connect()
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            raise no_cluster(self._address, error) from error
        self._remote = ray.remote(Actor)
        return self

    # Where a handler of a signal raises something within a call of Ray, its compiled code makes a SystemError of it.
    @postponed()
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for actor in self._actors.values():
            with suppress(self._ray.exceptions.RayError):
                self._ray.kill(actor)
        self._ray.shutdown()

    def setting(self) -> Setting:
        """With what the workers work, as the first of them says; waits for it.

        Raises:
            UsageError: if no worker can be had.
        """
        if not self._room():
            share = self._resolved(self._machines())
            wanted = f"{share.cpus} CPU(s)" + (f" and {share.gpu:g} GPU(s)" if share.gpu else "")
            raise UsageError(f"--ray {self._address}: no machine of the cluster has {wanted} for a worker")
        while self._setting is None:
            self.events(_WAIT_SECONDS)
        return self._setting

    def members(self) -> Sequence[int]:
        """The numbers of those whose model is loaded."""
        return tuple(self._ready)

    @postponed()
    def give(self, member: int, task: Task) -> None:
        """Give a case to one of them."""
        self._running[self._actors[member].run.remote(task)] = member, task

    @postponed()
    def stop(self) -> None:
        """Ask all of them to give up what they segment."""
        self._stopping = True
        for member in self._ready:
            self._actors[member].stop.remote()

    @postponed()
    def events(self, seconds: float) -> Sequence[Answered | Lost]:
        """What has happened; waits up to so many seconds for something to happen.

        Raises:
            UsageError: if no worker is left, and none can be had.
        """
        self._grow()
        waiting = [*self._opening, *self._running]
        if not waiting:
            time.sleep(seconds)
            return []
        done, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)
        if not done:
            done, _ = self._ray.wait(waiting, num_returns=1, timeout=seconds)
        found = []
        for reference in done:
            if reference in self._opening:
                self._welcome(reference)
            elif reference in self._running:
                found.append(self._answer(reference))
        return found

    def _connect(self) -> None:
        """Join the cluster, or start one here."""
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
        if address := address_of_head(self._address):
            self._ray.init(address=address, **quiet)
            return
        own = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
        self._ray.init(address="local", num_cpus=cores_of_job(), **own, **quiet)

    @postponed()
    def _machines(self) -> list[Mapping[str, float]]:
        """What each machine of the cluster has."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _resolved(self, machines: Sequence[Mapping[str, float]]) -> Share:
        """What a worker gets, in numbers."""
        gpu = self._share.gpu
        if gpu is None:
            there = any(machine.get("GPU", 0) >= 1 for machine in machines)
            gpu = 1.0 if there and self._job.choice.device != "cpu" else 0.0
        fitting = [machine for machine in machines if machine.get("CPU", 0) >= 1 and machine.get("GPU", 0) >= gpu]
        each = [int(machine["CPU"] // max(1, machine["GPU"] // gpu if gpu else 1)) for machine in fitting]
        return Share(cpus=self._share.cpus or max(1, min(each, default=1)), gpu=gpu)

    def _room(self) -> int:
        """How many workers the machines have room for."""
        machines = self._machines()
        share = self._resolved(machines)
        rooms = (
            min(machine.get("CPU", 0) // share.cpus, machine.get("GPU", 0) // share.gpu if share.gpu else math.inf)
            for machine in machines
        )
        return int(sum(rooms))

    def _grow(self) -> None:
        """Start as many workers as there is room for, also on machines that have come since.

        Raises:
            UsageError: if there has been none for long.
        """
        now = time.monotonic()
        if self._ready:
            self._had_some_at = now
        elif now - self._had_some_at > _START_SECONDS:
            raise UsageError(f"--ray {self._address}: no worker has started for {_START_SECONDS / 60:.0f} minutes")
        if self._stopping or now - self._grown_at < _GROW_SECONDS:
            return
        self._grown_at = now
        room, share = self._room(), self._resolved(self._machines())
        while len(self._actors) < room and self._refusals < 2 * room:
            member = next(self._numbers)
            options = {"num_cpus": share.cpus, "num_gpus": share.gpu, "max_concurrency": self.depth + 1}
            actor: Any = self._remote.options(max_restarts=0, scheduling_strategy="SPREAD", **options).remote()
            self._actors[member] = actor
            self._opening[actor.open.remote(self._job)] = member

    def _welcome(self, reference: Any) -> None:
        """Take in a worker that has started, if it works as the others do.

        Raises:
            UsageError: if it could not start, nor any other one.
        """
        member = self._opening.pop(reference)
        try:
            setting: Setting = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            reason = str(error.cause)
        except self._ray.exceptions.RayError:
            reason = "its process or machine ended while it started"
        else:
            self._setting = self._setting or setting
            if setting.recipe == self._setting.recipe:
                self._ready.append(member)
                return
            reason = "its precision, backend, weights or program differ from those of the first; name --precision"
        self._remove(member)
        self._refusals += 1
        if not self._actors:
            raise UsageError(f"--ray {self._address}: no worker could start: {reason}")
        self._say(f"a worker could not start: {reason}")

    def _answer(self, reference: Any) -> Answered | Lost:
        member, task = self._running[reference]
        try:
            answer: Answer = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            # Outside of the boundary of cases: its scratch folder could not be made, above all.
            reason = one_line(f"{task.source}: {error.cause}")
            result = CaseResult(name=task.name, output=None, seconds=0.0, reason=reason)
            answer = Answer(result=result, record=replace(task.record, status="failed", reason=reason))
        except self._ray.exceptions.RayError as error:
            away = isinstance(error, self._ray.exceptions.ActorUnavailableError)
            self._remove(member)
            return Lost(member=member, reason="out of reach" if away else "its process or machine ended")
        del self._running[reference]
        return Answered(member=member, name=task.name, answer=answer)

    def _remove(self, member: int) -> None:
        """Forget a worker, and make sure that it ends."""
        actor = self._actors.pop(member)
        self._ready = [other for other in self._ready if other != member]
        self._running = {key: value for key, value in self._running.items() if value[0] != member}
        with suppress(self._ray.exceptions.RayError, ValueError):
            self._ray.kill(actor)
        self._grown_at = -math.inf
