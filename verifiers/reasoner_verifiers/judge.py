"""Judge: asks a language model about a candidate; the rating comes from the probabilities of its first token."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

from reasoner import Completion, Cost, Prompt, Question, Rating, SamplingParams
from reasoner.engine import Engine, TokenIds, Usage, reset_caches, spellings
from reasoner.engines.openai import OpenAIEngine
from reasoner.engines.vllm import VllmEngine
from reasoner.engines.vllm.arguments import OPEN, OWNED, check_args
from reasoner.errors import UsageError, VerifierError
from reasoner.registry import as_written, build, options_of
from reasoner.specs import CheckedOptions, Count, Length, OpenOptions, Share, Spec
from reasoner.system.child_processes import in_daemon
from reasoner.types import FALLBACK, NO_THINKING, ONE_TOKEN, ThinkingLevel
from reasoner.verifier import CostMeter, verifier_cost
from reasoner_verifiers.requests import ask

Ask = Literal["yes", "true", "rubric", "scale"]
GRADES = ("1", "2", "3", "4", "5")
LETTERS = "ABCDEFGHIJKLMNOPQRST"
VERDICT = "Verdict:"
"""What a judge that thinks writes before its verdict."""


class JudgeForm(NamedTuple):
    """A question to the judge: the end of the prompt, and the possible words of its answer with their values."""

    closing: str
    values: tuple[tuple[str, float], ...]


FORMS: dict[Ask, JudgeForm] = {
    "yes": JudgeForm(
        "Is the answer correct? Reply with Yes or No.", (("Yes", 1.0), ("No", 0.0))
    ),
    "true": JudgeForm(
        "The proposed answer is: True or False? Reply with one word.",
        (("True", 1.0), ("False", 0.0)),
    ),
    "rubric": JudgeForm(
        "Grade the proposed answer from 1 (worst) to 5 (best) by this rubric: {criterion}\nReply with the grade alone.",
        tuple((grade, index / (len(GRADES) - 1)) for index, grade in enumerate(GRADES)),
    ),
    "scale": JudgeForm(
        "Rate the proposed answer by this criterion alone: {criterion}\nReply with one letter from A (clearly met) to "
        "T (clearly not met); from K on it is more likely not met.",
        tuple(
            (letter, 1 - index / (len(LETTERS) - 1))
            for index, letter in enumerate(LETTERS)
        ),
    ),
}


class _Known(NamedTuple):
    """What is known of an engine since its start: the tokens that spell each word, and what ends a judge's thinking."""

    engine: Engine
    spelled: dict[str, TokenIds]
    verdict: TokenIds
    """Of the text before the verdict."""
    closing: TokenIds
    """Of the text that ends thinking; empty for a model that does not think."""


@dataclass(frozen=True, slots=True)
class Judge(CheckedOptions):
    """Rates by a model's opinion of each candidate, as the probabilities of one token.

    `ask` "yes" rates by P(Yes) / (P(Yes) + P(No)) (Zhang 2024, 2408.15240), "true" by P(True) likewise (Kadavath 2022,
    2207.05221), "rubric" by the expected grade from 1 to 5, mapped to [0, 1] (Liu 2023, 2303.16634), "scale" by the
    expected letter of twenty, A to T (LLM-as-a-Verifier: 2607.05391, which rates both answers of a pair and takes the
    likeliest spelling of a letter; here the probabilities of all spellings that are one token are added). If all words
    together have less probability than `min_mass`, the model did not answer the question: an error, not a rating. Each
    of the `criteria` is asked about apart, and the rating is the mean. `parts` are the masses.

    With `think`, it is a generative verifier (ThinkPRM: Khalifa 2025, 2504.16828): it reasons in at most this many
    tokens, `repeats` times, before the probabilities of its verdict are read, and their mean is the rating. Otherwise a
    model that thinks is asked without thinking. It reads only the final part of a candidate.

    The policy judges itself, with the prompt up to the candidate in its prefix cache, unless `model` names another
    model to run or `base_url` a server. With `model`, the options of the engine `vllm` are
    options too, such as `device_ids`; `args` is a file of vLLM's arguments. The judge sees no reference answer and no
    other candidate. A candidate's text may manipulate it.
    """

    open_options: ClassVar[OpenOptions] = OPEN
    logprobs: ClassVar[None] = None

    ask: Ask = "yes"
    criteria: tuple[str, ...] = ()
    think: Length = 0
    repeats: Count = 1
    min_mass: Share = 0.5
    model: str = ""
    base_url: str = ""
    args: Mapping[str, Any] = field(default_factory=dict, hash=False)
    _own: list[Engine] = field(
        default_factory=list, init=False, repr=False, compare=False
    )
    _known: list[_Known] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    def complete(self) -> None:
        if self.repeats > 1 and not self.think:
            raise UsageError(
                f"repeats={self.repeats} would read the same probabilities again: set think too"
            )
        engine = options_of(VllmEngine).keys() - {"core", "model_id"}
        check_args(
            {name: value for name, value in self.args.items() if name not in engine},
            options_of(type(self)),
            OWNED | {"core": "the judge's model runs in a process of its own"},
        )
        if self.args and (self.base_url or not self.model):
            raise UsageError(
                f"{min(self.args)} has no effect: the judge runs no model of its own; give model, or omit it"
            )
        self._new_engine()

    def _new_engine(self) -> VllmEngine:
        """The engine of the judge's own model. In this process, two cores would wait for each other at every step."""
        options = {name: as_written(value) for name, value in self.args.items()}
        engine: VllmEngine = build(
            "engine", Spec("vllm", options), model_id=self.model, core="async"
        )
        return engine

    async def claim_memory(self, policy: Engine) -> None:
        """Claim a part of the policy's GPU for the judge's own model, if it has one, before the policy starts."""
        if self._own or not (self.model or self.base_url):
            return
        if self.base_url:
            self._own.append(OpenAIEngine(base_url=self.base_url, model_id=self.model))
            return
        own = self._new_engine()
        self._own.append(own)
        await in_daemon(lambda: own.share_gpu(policy))

    async def start(self, policy: Engine) -> None:
        """Start the judge's own model, if it has one, and find the tokens that spell the words."""
        await self.claim_memory(policy)
        engine = self._engine(policy)
        await engine.start()
        if any(known.engine is engine for known in self._known):
            return
        spelled = {
            word: await _spellings(engine, word) for word, _ in FORMS[self.ask].values
        }
        profile = engine.model.thinking
        texts = (
            (f"\n\n{VERDICT}", profile.closing if profile else "")
            if self.think
            else ("", "")
        )
        verdict, closing = [
            (await engine.encode(text) if text else None) or () for text in texts
        ]
        self._known.append(_Known(engine, spelled, verdict, closing))

    async def reset_caches(self) -> None:
        """Empty the cache of the judge's own model."""
        await reset_caches(*self._own)

    async def close(self) -> None:
        """Stop the judge's own model."""
        while self._own:
            await self._own.pop().close()
        self._known.clear()

    def _engine(self, policy: Engine) -> Engine:
        return self._own[0] if self._own else policy

    async def bound(
        self, question: Question, candidate: Completion, policy: Engine
    ) -> Cost:
        """The cost of all prompts, with nothing cached, all thinking, and one token each."""
        known, total = self._of(self._engine(policy)), Cost()
        forced = self.think + len(known.verdict) + len(known.closing)
        for prompt in self._prompts(question, candidate, known.engine):
            tokens = (await known.engine.render(prompt)).tokens
            usages = [Usage(tokens, 0, self.think)] * bool(self.think) + [
                Usage(tokens + forced, 0, 1)
            ]
            total += sum(
                [verifier_cost(known.engine.model, usage) for usage in usages]
                * self.repeats,
                Cost(),
            )
        return total

    async def score(
        self,
        question: Question,
        candidate: Completion,
        policy: Engine,
        cost_meter: CostMeter,
    ) -> Rating:
        """The model's rating of one candidate, the mean over all criteria and repeats."""
        known, values, masses = (
            self._of(self._engine(policy)),
            list[float](),
            list[float](),
        )
        watch = tuple(token for tokens in known.spelled.values() for token in tokens)
        forced = len(known.verdict) + len(known.closing) + 1
        reasoned = SamplingParams(stop=(VERDICT,)).over(
            known.engine.model.sampling, FALLBACK
        )
        request = partial(
            ask, known.engine, question.id, cost_meter=cost_meter, index=candidate.index
        )
        for prompt in self._prompts(question, candidate, known.engine):
            for repeat in range(self.repeats):
                asked = prompt
                if self.think:
                    params, seed = (
                        replace(reasoned, max_tokens=self.think),
                        (candidate.seed + repeat) % 2**63,
                    )
                    asked = _closed(
                        known, await request(prompt, params, seed=seed, reserve=forced)
                    )
                reply = await request(
                    asked, ONE_TOKEN, seed=candidate.seed, watch=watch
                )
                if reply.logprobs is None or not reply.logprobs.watched:
                    raise VerifierError(
                        f"{known.engine.name} does not report the log-probabilities of chosen tokens"
                    )
                chance = dict(
                    zip(watch, map(math.exp, reply.logprobs.watched[0]), strict=True)
                )
                words = [
                    (math.fsum(chance[token] for token in known.spelled[word]), value)
                    for word, value in FORMS[self.ask].values
                ]
                value, mass = self._expected(words)
                values.append(value)
                masses.append(mass)
        return Rating(
            math.fsum(values) / len(values),
            cost_meter.cost or Cost(),
            parts=tuple(masses),
        )

    def _of(self, engine: Engine) -> _Known:
        known = next((known for known in self._known if known.engine is engine), None)
        if known is None:
            raise VerifierError(
                "the judge was not started with this engine: await its start(policy) first"
            )
        return known

    def _prompts(
        self, question: Question, candidate: Completion, engine: Engine
    ) -> list[Prompt]:
        """The prompt of the policy, which is in its prefix cache, and the task of the judge, for each criterion."""
        prompt = question.prompt
        level: ThinkingLevel = (
            self.think if self.think and engine.model.thinking else NO_THINKING
        )
        text = prompt.raw or prompt.messages[-1].content
        system = next(
            (
                message.content
                for message in prompt.messages
                if message.role == "system"
            ),
            "",
        )
        shown = f"{text}\n\nProposed answer:\n{candidate.chain.strip()}"
        tasks = map(self._task, self.criteria or ("",))
        return [
            Prompt.chat(f"{shown}\n\n{task}", system=system).at_level(level)
            for task in tasks
        ]

    def _task(self, criterion: str) -> str:
        """What the judge is asked."""
        task = FORMS[self.ask].closing.replace(
            "{criterion}", criterion or "the reasoning is sound and the answer correct"
        )
        if criterion and criterion not in task:
            task = f"Judge by this criterion alone: {criterion}\n{task}"
        return (
            f'{task}\nFirst examine it step by step; then write "{VERDICT}" and the reply.'
            if self.think
            else task
        )

    def _expected(self, masses: Sequence[tuple[float, float]]) -> tuple[float, float]:
        """The expected value of words with these probabilities and values, and the probability of all of them."""
        total = math.fsum(part for part, _ in masses)
        mass = min(1.0, total)
        if mass <= 0 or mass < self.min_mass:
            words = ", ".join(word for word, _ in FORMS[self.ask].values)
            raise VerifierError(
                f"the judge did not answer: {words} together have probability {mass:.3f}, below "
                f"min_mass={self.min_mass:g}"
            )
        return min(1.0, math.fsum(part * value for part, value in masses) / total), mass


def _closed(known: _Known, thought: Completion) -> Prompt:
    """What the judge thought, continued up to its verdict."""
    prompt = thought.prompt.then(thought)
    if thought.unclosed:
        prompt = prompt.extended("", known.closing)
    return (
        prompt
        if thought.stop == VERDICT
        else prompt.extended(f"\n\n{VERDICT}", known.verdict)
    )


async def _spellings(engine: Engine, word: str) -> TokenIds:
    """The single tokens that spell a word, with or without a blank, in either case."""
    tokens = await spellings(engine, word)
    if tokens is None:
        raise VerifierError(
            f"{engine.name} gives no access to its tokenizer: the judge needs vLLM, in this process or as a server"
        )
    if not tokens:
        raise VerifierError(
            f"no single token of {engine.model.name} spells {word!r}: choose another `ask`"
        )
    return tokens
