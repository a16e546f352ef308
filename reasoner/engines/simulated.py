"""The simulated engine: answers, lengths and certainties are drawn from known distributions."""

import asyncio
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Annotated, Final, NamedTuple

from reasoner.engine import (
    Continuation,
    FinishReason,
    FreeEngine,
    Logprobs,
    ModelInfo,
    RenderedPrompt,
    SampleRequest,
    Usage,
)
from reasoner.engines.chains import PROBE_TOKENS, ChainLaw, probe_reply
from reasoner.engines.simulated_replies import (
    in_turn,
    instance,
    named_call,
    read_arithmetic,
    written,
)
from reasoner.errors import UsageError
from reasoner.models.thinking import ThinkingProfile, still_thinking
from reasoner.specs import CheckedOptions, Range, Share
from reasoner.strategy import BRANCH
from reasoner.types import NO_THINKING, Completion, Prompt

_SLIPS = (1, -1, 10)
"""The errors of wrong answers to arithmetic, equally likely."""
_SOLVED = 0.3
"""How often a question is solved by itself although answers are shown. Assumed: no paper reports it."""
MODEL = ModelInfo(
    "simulated",
    context=1 << 20,
    parameters=135_000_000,
    layers=30,
    heads=9,
    kv_heads=3,
    head_dim=64,
)


_THOUGHT, _OPEN, _CLOSE, _CHAIN = -1, -2, -3, -4
"""The ids of tokens that think and mark; those up to the last one name chains."""
_LEVELS = {"low": 0.25, "medium": 1.0, "high": 4.0}
_NORMAL: Final = NormalDist()
_Row = tuple[float, ...]
THINKING = ThinkingProfile(
    "on_request",
    (_OPEN,),
    (_CLOSE,),
    "<think>",
    "</think>",
    "</think>",
    levels={level: {"reasoning_effort": level} for level in _LEVELS},
)
"""How the simulated model thinks, where it does."""


@dataclass(frozen=True, slots=True)
class Law(CheckedOptions):
    """The distribution of answers to one question: `weights` are equal if empty, an answer may be listed twice.

    The first answer counts as the right one. `silent` is the share of samples without an answer, `tokens` the mean
    length of a reply.
    """

    answers: tuple[str, ...]
    weights: tuple[float, ...] = ()
    silent: Share = 0.0
    tokens: Annotated[float, Range(at_least=1)] = 100.0

    def complete(self) -> None:
        if not self.answers:
            raise UsageError(
                "answers must not be empty: give at least one, as in answers=[7,8,9]"
            )
        if self.weights and len(self.weights) != len(self.answers):
            raise UsageError(
                f"{len(self.weights)} weights for {len(self.answers)} answers: give one each, or none"
            )
        if any(weight < 0 for weight in self.weights) or (
            self.weights and sum(self.weights) <= 0
        ):
            raise UsageError(
                f"weights must be at least 0, and one of them above 0 (got {self.weights})"
            )


class _Thought(NamedTuple):
    """What is thought before an answer: its tokens, its chain's name, and whether the chain will end right.

    `accuracy` is the chance that the answer after it is right, and `source` draws that answer.
    """

    tokens: int
    accuracy: float
    source: random.Random
    name: int = _THOUGHT
    right: bool = False


@dataclass(slots=True)
class SimulatedEngine(CheckedOptions, FreeEngine):
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
    as often as a wrong one; without, replies do not depend on them.

    A reply satisfies a JSON schema, and calls a tool that must be called or that the question names. Other forms and
    judgements are not simulated.

    `certainty` is how well log-probabilities tell right replies from wrong ones: the chance that a right one has the
    higher mean of two (AUROC), where 0.5 tells nothing; the embedded model has about 0.8 on sums. The tokens of
    a reply have the same probability, (1 + x) / 2, where x is the chance of being right that a normal score of the
    reply shows at even odds. The first of given `answers` counts as right. `model_name` is what the model is called.

    A reply is a function of the prompt and the request's seed. Lengths without thinking are exponential around their
    mean, at least one token, cut at `max_tokens`; a cut reply has no answer.
    """

    answers: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    silent: Share = 0.0
    tokens: Annotated[float, Range(at_least=1)] = 100.0
    accuracy: Share = 0.8
    thinking: Annotated[float, Range(at_least=0)] = 0.0
    guess: Share = 0.05
    odds: Annotated[float, Range(above=0, below=math.inf)] | None = None
    certainty: Annotated[float, Range(at_least=0.5, below=1)] = 0.8
    model_name: str = "simulated"
    laws: Mapping[str, Law] = field(default_factory=dict, repr=False)
    model: ModelInfo = field(default=MODEL, init=False, repr=False)
    name: str = field(default="simulated", init=False, repr=False)
    notes: tuple[str, ...] = field(init=False, repr=False)
    capacity: int | None = field(default=None, init=False, repr=False)
    _default: Law = field(init=False, repr=False)

    def complete(self) -> None:
        if not self.model_name:
            raise UsageError(
                "model_name must not be empty: give a name, as in model_name=small"
            )
        self.model = replace(
            MODEL, name=self.model_name, thinking=THINKING if self.thinking else None
        )
        self._default = Law(
            # The default answers to a question that is not arithmetic
            self.answers or ("7", "7", "8"),
            self.weights,
            self.silent,
            self.tokens,
        )
        law = f"drawn from {', '.join(self._default.answers)}"
        arithmetic = f"arithmetic is right in {self.accuracy:.0%} of samples, other answers are {law}"
        self.notes = (
            f"simulated, no model was run: {f'answers are {law}' if self.answers else arithmetic}",
        )

    @property
    def continues(self) -> Continuation | None:
        """As text, where the model thinks."""
        return "text" if self.thinking else None

    @property
    def limits_thinking(self) -> bool:
        """True: a thinking level that is a number of tokens is kept."""
        return True

    async def render(self, prompt: Prompt) -> RenderedPrompt:
        """One token for each word of the prompt; the ids mean nothing."""
        words = sum(
            len(text.split())
            for text in (prompt.raw, *(message.content for message in prompt.messages))
        )
        ids = (0,) * words + prompt.token_ids
        opened = (
            bool(self.thinking and prompt.messages)
            and prompt.thinking_level != NO_THINKING
        )
        return RenderedPrompt(
            ids, len(ids), still_thinking(prompt, self.model.thinking, opened=opened)
        )

    def _law(self, prompt: Prompt, accuracy: float) -> Law:
        """The distribution of answers to a prompt."""
        if self.answers:
            return self._default
        text = "\n\n".join(message.content for message in prompt.messages)
        value, shown = read_arithmetic(text or prompt.raw)
        if value is None:
            return self._default
        wrong = (1 - accuracy) / len(_SLIPS)
        answers = tuple(written(value + slip) for slip in (0, *_SLIPS))
        weights = (accuracy, *(wrong for _ in _SLIPS))
        if shown and self.odds is not None:
            liked = [self.odds if answer == answers[0] else 1.0 for answer in shown]
            taken = (1 - _SOLVED) / sum(liked)
            weights = (
                *(_SOLVED * weight for weight in weights),
                *(taken * each for each in liked),
            )
            answers += shown
        return Law(answers, weights, self.silent, self.tokens)

    def _thought(self, request: SampleRequest) -> _Thought:
        """What is thought for a request before its answer."""
        if not self.thinking:
            return _Thought(0, self.accuracy, random.Random(request.seed))
        ids, level, thinks = (
            request.prompt.token_ids,
            request.prompt.thinking_level,
            request.rendered.in_thinking,
        )
        continued = next((token for token in reversed(ids) if token <= _CHAIN), None)
        name = (
            # The number of different chains
            _CHAIN - request.seed % (1 << 31)
            if continued is None or (thinks and request.index % BRANCH)
            else continued
        )
        law = ChainLaw(self.thinking, self.accuracy)
        chain, end = law.chain(law.question(request.question_id), name), len(ids)
        if thinks:
            allowed = (
                level
                if isinstance(level, int)
                else self.thinking * _LEVELS.get(level or "", math.inf)
            )
            end = max(end + 1, math.ceil(min(chain.tokens, allowed)))
        elif _CLOSE in ids:
            end = ids.index(_CLOSE) + 1
        knows = end >= chain.knows
        source = random.Random(
            # How long an early answer is held, as a share of the median length
            f"{name} {'end' if knows else math.floor(end / self.thinking / 0.1)}"
        )
        return _Thought(
            end - len(ids),
            float(chain.right) if knows else self.guess,
            source,
            name,
            chain.right,
        )

    def _reply(self, request: SampleRequest, answer: str, source: random.Random) -> str:
        """The text of a whole reply with this answer; `source` draws what its form leaves open.

        Raises:
            UsageError: it must satisfy a JSON schema, and no value is found that does.
        """
        prompt, schema = request.prompt, request.params.json_schema
        if schema:
            return instance(in_turn(schema, prompt), answer, source)
        return named_call(prompt, answer, source) or f"The answer is {answer}"

    def _rows(
        self, request: SampleRequest, thought: _Thought, *, right: bool
    ) -> tuple[_Row, _Row]:
        """The log-probabilities of a token of the thinking, and of one of the reply after it; best first."""
        score = random.Random(
            f"{thought.name if self.thinking else request.seed} certainty"
        ).gauss(0, 1)
        apart = math.sqrt(2) * _NORMAL.inv_cdf(self.certainty)

        def row(*, right: bool) -> _Row:
            shown = apart * (score + (apart if right else -apart) / 2)
            sampled = (1 + 1 / (1 + math.exp(-shown))) / 2
            others = (request.params.logprobs or 0) - 1
            return (
                math.log(sampled),
                # How many other tokens share the probability that the sampled one leaves
                *(math.log((1 - sampled) / 20) for _ in range(others)),
            )

        return row(right=thought.right), row(right=right)

    async def sample(self, request: SampleRequest) -> Completion:
        """One sample from the question's distribution.

        Raises:
            UsageError: it must satisfy a JSON schema, and no value is found that does.
        """
        request.meter.usage = Usage()
        prompt, params, thinks = (
            request.prompt,
            request.params,
            request.rendered.in_thinking,
        )
        thought = self._thought(request)
        law = self.laws.get(request.question_id) or self._law(prompt, thought.accuracy)
        source = thought.source
        answer = source.choices(law.answers, law.weights or None)[0]
        silent = source.random() < law.silent and not params.json_schema
        full = max(thought.tokens, 0) + max(
            1, round(source.expovariate(1 / law.tokens))
        )
        text, stop = "" if silent else self._reply(request, answer, source), ""
        if self.thinking and not thinks and (prompt.token_ids or prompt.text):
            text, stop = probe_reply(answer, prompt, params)
            full = PROBE_TOKENS
        cached = len(prompt.token_ids) if self.thinking else 0
        request.meter.usage = Usage(request.rendered.tokens, cached)
        await asyncio.sleep(0)
        length = min(full, params.limit)
        thinking = min(thought.tokens, length) if thinks else 0
        finish: FinishReason = "length" if full > length else "stop"
        logprobs = None
        if params.logprobs is not None:
            inner, outer = self._rows(
                request, thought, right=answer == law.answers[0] and not silent
            )
            rows = (inner,) * thinking + (outer,) * (length - thinking)
            top = (
                tuple(row[: params.logprobs] for row in rows) if params.logprobs else ()
            )
            logprobs = Logprobs(tuple(row[0] for row in rows), top)
        usage = Usage(request.rendered.tokens, cached, length, thinking)
        await self.end_in_turn(request, usage)
        ids = (
            (thought.name, *(_THOUGHT,) * (thought.tokens - 2), _CLOSE)[
                -thought.tokens :
            ]
            if thinks
            else ()
        )
        ids = (ids + (1 + law.answers.index(answer),) * length)[:length]
        if finish != "stop":
            text, stop = (
                _begun(text, (length - thinking) / (full - max(thought.tokens, 0))),
                "",
            )
        return Completion(
            prompt,
            text,
            ids,
            finish,
            stop or None,
            usage,
            logprobs,
            request.index,
            request.seed,
            unclosed=thinks and length < thought.tokens,
        )


def _begun(text: str, share: float) -> str:
    """About a share of a text: some of its words, and never the last one, which may be the answer."""
    words = text.split(" ")
    return " ".join(words[: math.ceil((len(words) - 1) * share)])
