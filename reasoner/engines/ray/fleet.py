"""The replicas of one engine or verifier: how many, with what each, and which of them serves which question."""

import asyncio
import dataclasses
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final, NamedTuple

from reasoner.engines.ray import cluster
from reasoner.engines.ray.hosts import Host, Notice, copied
from reasoner.engines.ray.replica import Ask, Pacer, Replica, Setup
from reasoner.engines.vllm.build import in_daemon, installed_build, say_nothing
from reasoner.engines.vllm.served import devices_of
from reasoner.errors import EngineUnavailable, require
from reasoner.registry import options_of
from reasoner.system.machine import usable_cores
from reasoner.types import Notify

MAX_REPLICAS: Final = 1024
REMEMBERED: Final = 100_000
"""Questions with a remembered replica, if they are never released."""


class Wanted(NamedTuple):
    """The options that engine and verifier have in common."""

    replicas: int
    address: str
    gpus: int | None
    cpus: int

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            UsageError: the message names the option.
        """
        require(self.replicas, "replicas", at_least=0, at_most=MAX_REPLICAS)
        require(self.gpus, "gpus", at_least=0)
        require(self.cpus, "cpus", at_least=0)
        cluster.check_address(self.address)


def gpus_of(plug_in: Any) -> int:
    """The GPUs that an engine or a verifier takes: as many as vLLM's arguments of it or of a part of it say."""
    build = installed_build()
    if build is None or build.cpu or not dataclasses.is_dataclass(plug_in):
        return 0
    options = {name: getattr(plug_in, name) for name in options_of(plug_in)}
    parts = [part for value in options.values() for part in (value if isinstance(value, tuple) else (value,))]
    own = len(devices_of(options["args"])) if getattr(plug_in, "open_options", None) else 0
    return max([own, *map(gpus_of, parts)])


class Placement:
    """Gives each question one of the replicas: the one with the fewest questions and requests when it begins.

    A question stays where it is, because its prefixes are in that replica's cache, until `release` or until the
    replica is lost. Of many questions that are never released, those that were used last are remembered.
    """

    def __init__(self, replicas: int) -> None:
        self._lost: set[int] = set()
        self._replicas: OrderedDict[str, int] = OrderedDict()
        self._loads = [0] * replicas
        """Questions and requests of each."""

    def of(self, question_id: str) -> int:
        """The replica of a question, counted from 0."""
        replica = self._replicas.get(question_id)
        if replica is None:
            replica = self._replicas[question_id] = min(self._candidates, key=self._loads.__getitem__)
            self._loads[replica] += 1
            if len(self._replicas) > REMEMBERED:
                self._forget(next(iter(self._replicas)))
        else:
            self._replicas.move_to_end(question_id)
        return replica

    def release(self, question_id: str) -> None:
        """The question has ended. Does nothing for one that is unknown."""
        if question_id in self._replicas:
            self._forget(question_id)

    def lose(self, replica: int) -> None:
        """The replica does not answer: its questions are placed again, among the others as long as there is one."""
        self._lost.add(replica)
        self._vacate()

    def restore(self, replica: int) -> None:
        """The replica answers again, and new questions may go there."""
        self._lost.discard(replica)
        self._vacate()

    def _vacate(self) -> None:
        for question_id in [name for name, replica in self._replicas.items() if replica in self._lost]:
            self._forget(question_id)

    @property
    def lost(self) -> frozenset[int]:
        """The replicas that do not answer."""
        return frozenset(self._lost)

    @property
    def _candidates(self) -> Sequence[int]:
        replicas = range(len(self._loads))
        if not self._lost:
            return replicas
        return [replica for replica in replicas if replica not in self._lost] or replicas

    @contextmanager
    def request(self, question_id: str) -> Iterator[int]:
        """Count one request of a question while it is in flight; yields the replica that gets it."""
        replica = self.of(question_id)
        self._loads[replica] += 1
        try:
            yield replica
        finally:
            self._loads[replica] -= 1

    def _forget(self, question_id: str) -> None:
        self._loads[self._replicas.pop(question_id)] -= 1


class Fleet:
    """Replicas that were started; `facts` are what each start returned, and `placement` is who serves which question.

    While a replica is restarted, its questions are served by the others.
    """

    def __init__(self, replicas: list[Replica], facts: list[Any], placement: Placement) -> None:
        self.replicas = replicas
        self.facts = facts
        self.placement = placement

    @classmethod
    async def start(
        cls,
        host: type[Host],
        plug_in: Any,
        wanted: Wanted,
        *,
        role: str,
        notify: Notify,
        stage: Notify,
        ask: Ask,
        arguments: tuple[Any, ...] = (),
    ) -> "Fleet":
        """Join or start a cluster, and start all replicas at once.

        Raises:
            MissingExtra: Ray is not installed.
            EngineUnavailable: there is no cluster, it has too few GPUs, or a replica cannot be started.
        """
        stage("joining the Ray cluster" if wanted.address else "starting Ray")
        owned = False

        def join() -> None:
            nonlocal owned
            owned = cluster.join(wanted.address)

        await in_daemon(join)
        replicas: list[Replica] = []
        try:
            gpus = gpus_of(plug_in) if wanted.gpus is None else wanted.gpus
            count = _count(wanted, gpus, role)
            placement = Placement(count)
            threads = wanted.cpus or (max(1, usable_cores() // count) if owned and not gpus else 1)
            # The cores of a machine that is ours are not reserved: Ray keeps an idle process for each.
            options: dict[str, Any] = {"num_gpus": gpus, "num_cpus": 0 if owned else threads}
            setup = Setup(host, copied(plug_in), options, threads, ask, arguments, Pacer())
            for index in range(count):
                # All start alike, and one reports its stages.
                on_notice = _forward(notify, stage if index == 0 else say_nothing)
                name = f"replica {index} of {count} of {role}"
                replicas.append(Replica(name, setup, on_notice, partial(_mark, placement, index)))
            stage(f"starting {count} replica{'s' * (count > 1)}")
            starts = [asyncio.ensure_future(replica.start()) for replica in replicas]
            try:
                return cls(replicas, await asyncio.gather(*starts), placement)
            finally:
                for task in starts:
                    task.cancel()
                await asyncio.gather(*starts, return_exceptions=True)
        except BaseException:
            await _close(replicas)
            raise

    def replica(self, index: int) -> Replica:
        """The replica of this number; if it does not answer, the next one that does, or will."""
        lost = self.placement.lost
        if index not in lost and not self.replicas[index].given_up:
            return self.replicas[index]
        numbers = [*range(index, len(self.replicas)), *range(index)]
        return self.replicas[min(numbers, key=lambda number: (self.replicas[number].given_up, number in lost))]

    async def close(self) -> None:
        """End all replicas, and the cluster if it is our own and nothing else uses it."""
        await _close(self.replicas)


def _mark(placement: Placement, index: int, answers: bool) -> None:
    (placement.restore if answers else placement.lose)(index)


def _forward(notify: Notify, stage: Notify) -> Any:
    def on_notice(notice: Notice) -> None:
        (stage if notice.stage else notify)(notice.line)

    return on_notice


async def _close(replicas: list[Replica]) -> None:
    with suppress(Exception):
        await asyncio.gather(*(replica.stop() for replica in replicas))
    await in_daemon(cluster.leave)


def _count(wanted: Wanted, gpus: int, role: str) -> int:
    """How many replicas there will be.

    Raises:
        EngineUnavailable: the cluster has too few GPUs.
    """
    available = cluster.gpus()
    count = wanted.replicas or (int(available // gpus) if gpus else 1)
    if gpus * count > available or not count:
        raise EngineUnavailable(
            f"{max(count, 1)} replicas of {role} need {gpus * max(count, 1)} GPUs and the cluster has {available:g}: "
            "lower replicas or gpus"
        )
    return count
