"""An engine without a model: each question has a known distribution of answers and lengths, for statistics."""

import asyncio
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache

from reasoner.answers.expressions import evaluate
from reasoner.engine import Rendered, SampleRequest
from reasoner.engines import FreeEngine
from reasoner.errors import UsageError, require
from reasoner.models.info import ModelInfo
from reasoner.types import Completion, FinishReason, Logprobs, Prompt, Usage

UNASKED = ("7", "7", "8")
"""The default answers to a question that is not arithmetic."""
_ASKED = re.compile(
    r"(?:what is|what's|how much is|calculate|compute|evaluate|work out)?\s*([^?=]+?)\s*(?:=\s*)?\??\.?", re.IGNORECASE
)
_WORDS = {"plus": "+", "minus": "-", "times": "*", "multiplied by": "*", "divided by": "/", "x": "*"}
_WORD = re.compile(r"\s(multiplied by|divided by|plus|minus|times|x)\s", re.IGNORECASE)
MAX_LENGTH = 1000
"""The longest paragraph, in characters, that is read as arithmetic."""
_SLIPS = (1, -1, 10)
"""The errors of wrong answers to arithmetic, equally likely."""
MODEL = ModelInfo("simulated", context=1 << 20, parameters=135_000_000, layers=30, heads=9, kv_heads=3, head_dim=64)


@dataclass(frozen=True, slots=True)
class Law:
    """The distribution of answers to one question: `weights` are equal if empty, an answer may be listed twice.

    `silent` is the share of samples without an answer, `tokens` the mean length of a reply.
    """

    answers: tuple[str, ...]
    weights: tuple[float, ...] = ()
    silent: float = 0.0
    tokens: float = 100.0

    def __post_init__(self) -> None:
        if not self.answers:
            raise UsageError("answers must not be empty: give at least one, as in answers=[7,8,9]")
        if self.weights and len(self.weights) != len(self.answers):
            raise UsageError(f"{len(self.weights)} weights for {len(self.answers)} answers: give one each, or none")
        if any(weight < 0 for weight in self.weights) or (self.weights and sum(self.weights) <= 0):
            raise UsageError(f"weights must be at least 0, and one of them above 0 (got {self.weights})")
        require(self.silent, "silent", at_least=0, at_most=1)
        require(self.tokens, "tokens", at_least=1)


@dataclass(slots=True)
class SimulatedEngine(FreeEngine):
    """Answers arithmetic rightly with probability `accuracy`, and other questions by a given distribution.

    A sample answers `What is 3 + 4?` rightly with probability `accuracy`, and is otherwise off by 1 or 10. Answers to
    all other questions follow the distribution that the options describe; if `answers` are given, those to arithmetic
    too. `weights` are those of `answers`, equal if empty. `silent` is the share of samples without an answer, `tokens`
    the mean length of a reply. `laws` are distributions by question id.

    A reply is a function of the request's seed. Lengths are exponential around their mean, at least one token, cut at
    `max_tokens`; a cut reply has no answer. Log-probabilities carry no information.
    """

    answers: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    silent: float = 0.0
    tokens: float = 100.0
    accuracy: float = 0.8
    laws: Mapping[str, Law] = field(default_factory=dict)
    model: ModelInfo = field(default=MODEL, init=False, repr=False)
    name: str = field(default="simulated", init=False, repr=False)
    notes: tuple[str, ...] = field(init=False, repr=False)
    capacity: int | None = field(default=None, init=False, repr=False)
    _default: Law = field(init=False, repr=False)

    def __post_init__(self) -> None:
        require(self.accuracy, "accuracy", at_least=0, at_most=1)
        self._default = Law(self.answers or UNASKED, self.weights, self.silent, self.tokens)
        law = f"drawn from {', '.join(self._default.answers)}"
        arithmetic = f"arithmetic is right in {self.accuracy:.0%} of samples, other answers are {law}"
        self.notes = (f"simulated, no model was run: {f'answers are {law}' if self.answers else arithmetic}",)

    async def render(self, prompt: Prompt) -> Rendered:
        """One token for each word of the prompt; the ids mean nothing."""
        words = len(prompt.raw.split()) + sum(len(message.content.split()) for message in prompt.messages)
        ids = (0,) * words + prompt.token_ids
        return Rendered(ids, len(ids))

    def _law(self, prompt: Prompt) -> Law:
        """The distribution of answers to a prompt."""
        text = prompt.messages[-1].content if prompt.messages else prompt.raw
        value = None if self.answers else arithmetic(text)
        if value is None:
            return self._default
        wrong = (1 - self.accuracy) / len(_SLIPS)
        answers = tuple(_written(value + slip) for slip in (0, *_SLIPS))
        return Law(answers, (self.accuracy, *(wrong for _ in _SLIPS)), self.silent, self.tokens)

    async def sample(self, request: SampleRequest) -> Completion:
        """One sample from the question's distribution."""
        law = self.laws.get(request.question_id) or self._law(request.prompt)
        request.meter.usage = Usage(request.rendered.tokens)
        await asyncio.sleep(0)
        source = random.Random(request.seed)
        answer = source.choices(law.answers, law.weights or None)[0]
        text = "" if source.random() < law.silent else f"The answer is {answer}"
        full = max(1, round(source.expovariate(1 / law.tokens)))
        length = min(full, request.params.limit)
        cut = full > length
        top_k = request.params.logprobs
        top = ((-0.5,) * top_k,) * length if top_k else ()
        below = request.floor.tokens(top) if request.floor else length
        aborted, length = below < length, below
        logprobs = None if top_k is None else Logprobs((-0.5,) * length, top[:length])
        usage = Usage(request.rendered.tokens, 0, length)
        ids = (1 + law.answers.index(answer),) * length
        finish: FinishReason = "abort" if aborted else "length" if cut else "stop"
        text = "" if cut or aborted else text
        return Completion(request.prompt, text, ids, finish, None, usage, logprobs, request.index, request.seed)


@lru_cache(maxsize=4096)
def arithmetic(text: str) -> Fraction | None:
    """The value of the last paragraph that is only an arithmetic question; None without one."""
    for paragraph in reversed(text.split("\n\n")):
        if len(paragraph) <= MAX_LENGTH and (match := _ASKED.fullmatch(paragraph.strip())):
            expression = evaluate(_WORD.sub(lambda word: f" {_WORDS[word[1].lower()]} ", match[1]))
            if expression and len(expression.constants) > 1:
                return expression.value
    return None


def _written(value: Fraction) -> str:
    """A value as a decimal number of at most 6 decimal places, else as a fraction."""
    decimal = value * 10**6
    return f"{float(value):.12g}" if decimal.denominator == 1 else str(value)
