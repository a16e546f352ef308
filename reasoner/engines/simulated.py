"""An engine without a model: each question has a known law of answers and lengths, for statistics at scale."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from reasoner.errors import UsageError
from reasoner.models.card import ModelCard
from reasoner.protocols import Rendered, SampleRequest
from reasoner.types import Completion, Logprobs, Prompt, TokenIds, Usage

CARD = ModelCard("simulated", context=1 << 20, parameters=135_000_000, layers=30, heads=9, kv_heads=3, head_dim=64)


@dataclass(frozen=True, slots=True)
class Law:
    """How one question is answered: answers, their weights (none: all alike), the share of samples without any, tokens.

    An answer may be named twice. `tokens` is the mean length of a reply.
    """

    answers: tuple[str, ...]
    weights: tuple[float, ...] = ()
    silent: float = 0.0
    tokens: float = 100.0

    def __post_init__(self) -> None:
        if not self.answers:
            raise UsageError("a law needs at least one answer, as in answers=7|8|9")
        if self.weights and len(self.weights) != len(self.answers):
            raise UsageError(f"{len(self.weights)} weights for {len(self.answers)} answers: give one each, or none")
        if any(weight < 0 for weight in self.weights) or (self.weights and sum(self.weights) <= 0):
            raise UsageError(f"weights={self.weights} are no law: each is 0 or more, and one is above 0")
        if not 0 <= self.silent <= 1:
            raise UsageError(f"silent={self.silent} is out of range: a share is 0 to 1")
        if self.tokens < 1:
            raise UsageError(f"tokens={self.tokens} is out of range: a reply has 1 token or more on average")


@dataclass(slots=True)
class SimulatedEngine:
    """Draws answers from `laws` by question id, or from the one law that the options describe.

    Exactly repeatable: a reply is a function of the request's seed. Lengths are exponential around their mean, at least
    one token, cut at `max_tokens` (then without an answer, as a cut chain is). Log-probabilities carry no information.
    """

    answers: tuple[str, ...] = ("7", "7", "8")
    weights: tuple[float, ...] = ()
    silent: float = 0.0
    tokens: float = 100.0
    laws: Mapping[str, Law] = field(default_factory=dict)
    model: ModelCard = field(default=CARD, init=False, repr=False)
    name: str = field(default="simulated", init=False, repr=False)
    notes: tuple[str, ...] = field(default=("simulated: no model was run",), init=False, repr=False)
    capacity: int | None = field(default=None, init=False, repr=False)
    _default: Law = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._default = Law(self.answers, self.weights, self.silent, self.tokens)

    async def start(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""

    async def render(self, prompt: Prompt) -> Rendered:
        """One token for each word of the prompt; the ids mean nothing."""
        words = len(prompt.raw.split()) + sum(len(message.content.split()) for message in prompt.messages)
        ids = (0,) * words + prompt.token_ids
        return Rendered(ids, len(ids))

    async def encode(self, text: str) -> TokenIds | None:
        """None: the ids mean nothing."""
        return None

    async def sample(self, request: SampleRequest) -> Completion:
        """One draw from the question's law."""
        law = self.laws.get(request.question_id, self._default)
        request.meter.usage = Usage(request.rendered.tokens)
        await asyncio.sleep(0)
        source = random.Random(request.seed)
        answer = source.choices(law.answers, law.weights or None)[0]
        text = "" if source.random() < law.silent else f"The answer is {answer}"
        wanted = max(1, round(source.expovariate(1 / law.tokens)))
        length = min(wanted, request.params.max_tokens)
        cut = wanted > length
        kept = request.params.logprobs
        top = ((-0.5,) * kept,) * length if kept else ()
        below = request.floor.tokens(top) if request.floor else length
        aborted, length = below < length, below
        logprobs = None if kept is None else Logprobs((-0.5,) * length, top[:length])
        usage = Usage(request.rendered.tokens, 0, length)
        ids = (1 + law.answers.index(answer),) * length
        return Completion(
            request.prompt,
            "" if cut or aborted else text,
            ids,
            "abort" if aborted else "length" if cut else "stop",
            None,
            usage,
            logprobs,
            request.index,
            request.seed,
        )
