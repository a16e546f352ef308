"""An engine without a model: each question has a known distribution of answers and lengths, for statistics."""

import asyncio
import math
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from reasoner.answers.expressions import evaluate
from reasoner.engine import Continuation, FreeEngine, Rendered, SampleRequest
from reasoner.engines.chains import PROBE_TOKENS, ChainLaw, probe_reply
from reasoner.errors import UsageError, require
from reasoner.models.info import ModelInfo
from reasoner.models.parting import still_thinking
from reasoner.models.thinking import ThinkingProfile
from reasoner.strategy import BRANCH
from reasoner.types import NO_THINKING, Completion, FinishReason, Logprobs, Prompt, Usage

UNASKED = ("7", "7", "8")
"""The default answers to a question that is not arithmetic."""
_ASKED = re.compile(
    r"(?:what is|what's|how much is|calculate|compute|evaluate|work out)?\s*([^?=]+?)\s*(?:=\s*)?\??\.?", re.IGNORECASE
)
_WORDS = {"plus": "+", "minus": "-", "times": "*", "multiplied by": "*", "divided by": "/", "x": "*"}
_WORD = re.compile(r"\s(multiplied by|divided by|plus|minus|times|x)\s", re.IGNORECASE)
BEGINNING = "Let me work this out"
"""The text of a reply that is cut."""
MAX_LENGTH = 1000
"""The longest paragraph, in characters, that is read as arithmetic."""
_SLIPS = (1, -1, 10)
"""The errors of wrong answers to arithmetic, equally likely."""
_STATED = re.compile(r"The answer is (-?\d+(?:[./]\d+)?)")
_SOLVED = 0.3
"""How often a question is solved by itself although answers are shown. Assumed: no paper reports it."""
MODEL = ModelInfo("simulated", context=1 << 20, parameters=135_000_000, layers=30, heads=9, kv_heads=3, head_dim=64)


_THOUGHT, _OPEN, _CLOSE, _CHAIN = -1, -2, -3, -4
"""The ids of tokens that think and mark; those up to the last one name chains."""
_CHAINS = 1 << 31
"""The number of different chains."""
_HELD = 0.1
"""How long an early answer is held, as a share of the median length."""
_LEVELS = {"low": 0.25, "medium": 1.0, "high": 4.0}
THINKING = ThinkingProfile(
    "on_request", (_OPEN,), (_CLOSE,), "<think>", "</think>", "</think>",
    levels={level: {"reasoning_effort": level} for level in _LEVELS},
)  # fmt: skip
"""How the simulated model thinks, where it does."""


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


class _Thought(NamedTuple):
    """How many tokens are thought, the chance that the answer after them is right, its source, and the chain's name."""

    tokens: int
    accuracy: float
    source: random.Random
    name: int = _THOUGHT


@dataclass(slots=True)
class SimulatedEngine(FreeEngine):
    """Answers arithmetic rightly with probability `accuracy`, and other questions by a given distribution.

    A sample answers `What is 3 + 4?` rightly with probability `accuracy`, and is otherwise off by 1 or 10. Answers to
    all other questions follow the distribution that the options describe; if `answers` are given, those to arithmetic
    too. `weights` are those of `answers`, equal if empty. `silent` is the share of samples without an answer, `tokens`
    the mean length of a reply. `laws` are distributions by question id.

    With `thinking` above 0, the model thinks first, by a law that was fitted to a real one (see `ChainLaw`). `thinking`
    is the median length in tokens of a chain that ends right; wrong ones are longer, and hard questions have longer
    chains and lower chances. `accuracy` is the mean chance to end right. A chain knows its answer by a share x of its
    length with probability x squared. An answer before that, by a probe or because its thinking level ends it, is right
    with probability `guess`, and so is one without thinking. "low" allows a quarter of `thinking`, "medium" all of it,
    "high" four times as much. A chain can be drawn in parts. How hard a question is depends on its id.

    With `odds`, answers to arithmetic that a prompt shows are taken over in 70 % of replies, a right one `odds` times
    as often as a wrong one; without, replies do not depend on them. Judgements in words are not simulated.

    A reply is a function of the request's seed. Lengths without thinking are exponential around their mean, at least
    one token, cut at `max_tokens`; a cut reply has a text without an answer. Log-probabilities carry no information.
    """

    answers: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    silent: float = 0.0
    tokens: float = 100.0
    accuracy: float = 0.8
    thinking: float = 0.0
    guess: float = 0.05
    odds: float | None = None
    laws: Mapping[str, Law] = field(default_factory=dict, repr=False)
    model: ModelInfo = field(default=MODEL, init=False, repr=False)
    name: str = field(default="simulated", init=False, repr=False)
    notes: tuple[str, ...] = field(init=False, repr=False)
    capacity: int | None = field(default=None, init=False, repr=False)
    _default: Law = field(init=False, repr=False)

    def __post_init__(self) -> None:
        require(self.accuracy, "accuracy", at_least=0, at_most=1)
        require(self.guess, "guess", at_least=0, at_most=1)
        require(self.thinking, "thinking", at_least=0)
        if self.odds is not None:
            require(self.odds, "odds", above=0, below=math.inf)
        if self.thinking:
            self.model = replace(MODEL, thinking=THINKING)
        self._default = Law(self.answers or UNASKED, self.weights, self.silent, self.tokens)
        law = f"drawn from {', '.join(self._default.answers)}"
        arithmetic = f"arithmetic is right in {self.accuracy:.0%} of samples, other answers are {law}"
        self.notes = (f"simulated, no model was run: {f'answers are {law}' if self.answers else arithmetic}",)

    @property
    def continues(self) -> Continuation | None:
        """As text, where the model thinks."""
        return "text" if self.thinking else None

    @property
    def limits_thinking(self) -> bool:
        """True: a thinking level that is a number of tokens is kept."""
        return True

    async def render(self, prompt: Prompt) -> Rendered:
        """One token for each word of the prompt; the ids mean nothing."""
        words = sum(map(_words, (prompt.raw, *(message.content for message in prompt.messages))))
        ids = (0,) * words + prompt.token_ids
        opened = bool(self.thinking and prompt.messages) and prompt.thinking_level != NO_THINKING
        return Rendered(ids, len(ids), still_thinking(prompt, self.model.thinking, opened=opened))

    def _law(self, prompt: Prompt, accuracy: float) -> Law:
        """The distribution of answers to a prompt."""
        value, shown = (None, ()) if self.answers else _read(_text(prompt))
        if value is None:
            return self._default
        wrong = (1 - accuracy) / len(_SLIPS)
        answers = tuple(_written(value + slip) for slip in (0, *_SLIPS))
        weights = (accuracy, *(wrong for _ in _SLIPS))
        if shown and self.odds is not None:
            liked = [self.odds if answer == answers[0] else 1.0 for answer in shown]
            taken = (1 - _SOLVED) / sum(liked)
            weights = (*(_SOLVED * weight for weight in weights), *(taken * each for each in liked))
            answers += shown
        return Law(answers, weights, self.silent, self.tokens)

    def _thought(self, request: SampleRequest) -> _Thought:
        """What is thought for a request before its answer."""
        if not self.thinking:
            return _Thought(0, self.accuracy, random.Random(request.seed))
        ids, level, thinks = request.prompt.token_ids, request.prompt.thinking_level, request.rendered.in_thinking
        continued = next((token for token in reversed(ids) if token <= _CHAIN), None)
        name = (
            _CHAIN - request.seed % _CHAINS if continued is None or (thinks and request.index % BRANCH) else continued
        )
        law = ChainLaw(self.thinking, self.accuracy)
        chain, end = law.chain(law.question(request.question_id), name), len(ids)
        if thinks:
            allowed = level if isinstance(level, int) else self.thinking * _LEVELS.get(level or "", math.inf)
            end = max(end + 1, math.ceil(min(chain.tokens, allowed)))
        elif _CLOSE in ids:
            end = ids.index(_CLOSE) + 1
        knows = end >= chain.knows
        source = random.Random(f"{name} {'end' if knows else math.floor(end / self.thinking / _HELD)}")
        return _Thought(end - len(ids), float(chain.right) if knows else self.guess, source, name)

    async def sample(self, request: SampleRequest) -> Completion:
        """One sample from the question's distribution.

        Raises:
            UsageError: it would be JSON of a schema.
        """
        request.meter.usage = Usage()
        if request.params.json_schema:
            raise UsageError("the simulated engine writes no JSON: ask a model, such as the embedded one")
        prompt, thinks, limit = request.prompt, request.rendered.in_thinking, request.params.limit
        thought, accuracy, source, name = self._thought(request)
        law = self.laws.get(request.question_id) or self._law(prompt, accuracy)
        cached = len(prompt.token_ids) if self.thinking else 0
        request.meter.usage = Usage(request.rendered.tokens, cached)
        await asyncio.sleep(0)
        answer = source.choices(law.answers, law.weights or None)[0]
        text, stop = "" if source.random() < law.silent else f"The answer is {answer}", ""
        full = max(thought, 0) + max(1, round(source.expovariate(1 / law.tokens)))
        if self.thinking and not thinks and (prompt.token_ids or prompt.text):
            text, stop = probe_reply(answer, prompt, request.params)
            full = PROBE_TOKENS
        length = min(full, limit)
        cut = full > length
        top_k = request.params.logprobs
        top = ((-0.5,) * top_k,) * length if top_k else ()
        below = request.floor.tokens(top) if request.floor else length
        aborted, length = below < length, below
        logprobs = None if top_k is None else Logprobs((-0.5,) * length, top[:length])
        usage = Usage(request.rendered.tokens, cached, length, min(thought, length) if thinks else 0)
        await self.end_in_turn(request, usage)
        ids = (name, *(_THOUGHT,) * (thought - 2), _CLOSE)[-thought:] if thinks else ()
        ids = (ids + (1 + law.answers.index(answer),) * length)[:length]
        finish: FinishReason = "abort" if aborted else "length" if cut else "stop"
        unclosed = thinks and length < thought
        if cut or aborted:
            text, stop = "" if unclosed or aborted else BEGINNING, ""
        return Completion(
            prompt, text, ids, finish, stop or None, usage, logprobs, request.index, request.seed,
            unclosed=unclosed,
        )  # fmt: skip


def _text(prompt: Prompt) -> str:
    return "\n\n".join(message.content for message in prompt.messages) or prompt.raw


@lru_cache(maxsize=64)
def _words(text: str) -> int:
    """How many words a text has; all samples of a question ask for it."""
    return len(text.split())


def arithmetic(text: str) -> Fraction | None:
    """The value of the last paragraph that is only an arithmetic question; None without one."""
    return _read(text)[0]


@lru_cache(maxsize=4096)
def _read(text: str) -> tuple[Fraction | None, tuple[str, ...]]:
    """The value of what `arithmetic` finds, and the answers that are stated after it."""
    after = list[str]()
    for paragraph in reversed(text.split("\n\n")):
        if len(paragraph) <= MAX_LENGTH and (match := _ASKED.fullmatch(paragraph.strip())):
            expression = evaluate(_WORD.sub(lambda word: f" {_WORDS[word[1].lower()]} ", match[1]))
            if expression and len(expression.constants) > 1:
                return expression.value, tuple(_STATED.findall("\n".join(reversed(after))))
        after.append(paragraph)
    return None, ()


def _written(value: Fraction) -> str:
    """A value as a decimal number of at most 6 decimal places, else as a fraction."""
    decimal = value * 10**6
    return f"{float(value):.12g}" if decimal.denominator == 1 else str(value)
