"""Ray: rates by replicas of another verifier, each a Ray actor with a model of its own."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from reasoner.answers.questions import Question
from reasoner.budget import Cost
from reasoner.engine import Engine
from reasoner.engines.ray.fleet import Fleet, Wanted
from reasoner.engines.ray.hosts import REFUSED, VerifierHost
from reasoner.engines.vllm.build import say_nothing
from reasoner.errors import EngineError, UsageError
from reasoner.types import Completion, Rating
from reasoner.verifier import CostMeter, MemoryClaimant, Verifier


@dataclass(frozen=True, slots=True)
class RayVerifier:
    """Rates by replicas of `verifier`, each a Ray actor with a reward model of its own.

    All candidates of a question go to one replica, which caches their scores. The verifier must have its own model: one
    that asks the policy cannot run elsewhere. `replicas`, `address`, `gpus` and `cpus` are as those of the engine
    `ray`. A process has one cluster, which engine and verifier share.
    """

    example: ClassVar[str] = "-s best_of_n:n=4 -e ray --verifier ray:verifier=orm,replicas=2"

    verifier: Verifier
    replicas: int = 0
    address: str = ""
    gpus: int | None = None
    cpus: int = 0
    _fleet: list[Fleet] = field(default_factory=list, init=False, repr=False, compare=False)
    """The replicas, from `start` to `close`."""

    def __post_init__(self) -> None:
        self._wanted.check()
        options = {name: getattr(self.verifier, name, None) for name in ("model", "base_url")}
        if isinstance(self.verifier, RayVerifier) or not isinstance(self.verifier, MemoryClaimant):
            raise UsageError("the verifier of ray must run a model of its own, such as orm, prm or judge(model=...)")
        if set(options.values()) == {""}:
            raise UsageError(REFUSED)

    @property
    def _wanted(self) -> Wanted:
        return Wanted(self.replicas, self.address, self.gpus, self.cpus)

    @property
    def logprobs(self) -> int | None:
        """What the verifier in the replicas needs."""
        return self.verifier.logprobs

    async def start(self, policy: Engine) -> None:
        """Join or start a cluster, and start the verifier in each replica."""
        if self._fleet:
            return

        async def ask(method: str, arguments: tuple[Any, ...]) -> Any:
            if method not in ("render", "encode"):
                raise EngineError(f"a replica asked for {method}")
            return await getattr(policy, method)(*arguments)

        await policy.start()
        fleet = await Fleet.start(
            VerifierHost,
            self.verifier,
            self._wanted,
            role="the verifier",
            notify=getattr(policy, "notify", say_nothing),
            stage=getattr(policy, "stage", say_nothing),
            ask=ask,
            arguments=(policy.name, policy.model),
        )
        self._fleet.append(fleet)

    async def bound(self, question: Question, candidate: Completion, policy: Engine) -> Cost:
        """As the verifier in the replica says."""
        cost: Cost = await self._call(question, candidate, policy, "bound")
        return cost

    async def score(self, question: Question, candidate: Completion, policy: Engine, tab: CostMeter) -> Rating:
        """The rating of one candidate, by the replica of its question.

        Raises:
            VerifierError: as the verifier in the replica.
            RequestLost: the replica died; it is started again.
        """
        rating: Rating = await self._call(question, candidate, policy, "score", tab)
        return rating

    async def _call(
        self, question: Question, candidate: Completion, policy: Engine, method: str, meter: CostMeter | None = None
    ) -> Any:
        await self.start(policy)
        [fleet] = self._fleet
        with fleet.placement.request(question.id) as index:
            return await fleet.replica(index).call(method, question, candidate, meter=meter)

    async def reset_caches(self) -> None:
        """Empty the caches of all replicas."""
        for replica in [replica for fleet in self._fleet for replica in fleet.replicas]:
            await replica.call("reset_caches")

    async def close(self) -> None:
        """End the replicas."""
        while self._fleet:
            await self._fleet.pop().close()
