"""Judge: asks a language model about a candidate; the rating comes from the probabilities of its first token."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

from reasoner.answers.questions import Question
from reasoner.budget import Cost
from reasoner.engine import Engine, SampleRequest, UsageMeter, reset_caches, spellings
from reasoner.engines.openai import OpenAIEngine
from reasoner.engines.vllm import VllmEngine
from reasoner.engines.vllm.arguments import OPEN, OWNED, check_args
from reasoner.engines.vllm.build import in_daemon
from reasoner.errors import UsageError, VerifierError
from reasoner.registry import as_written, build, options_of
from reasoner.specs import Checked, OpenOptions, Share, Spec
from reasoner.types import NO_THINKING, ONE_TOKEN, Completion, Prompt, Rating, TokenIds, Usage
from reasoner.verifier import CostMeter, verifier_cost

Ask = Literal["yes", "true", "rubric"]
GRADES = ("1", "2", "3", "4", "5")


class JudgeForm(NamedTuple):
    """A question to the judge: the end of the prompt, and the possible words of its answer with their values."""

    closing: str
    values: tuple[tuple[str, float], ...]


FORMS: dict[Ask, JudgeForm] = {
    "yes": JudgeForm("Is the answer correct? Reply with Yes or No.", (("Yes", 1.0), ("No", 0.0))),
    "true": JudgeForm("The proposed answer is: True or False? Reply with one word.", (("True", 1.0), ("False", 0.0))),
    "rubric": JudgeForm(
        "Grade the proposed answer from 1 (worst) to 5 (best) by this rubric: {rubric}\nReply with the grade alone.",
        tuple((grade, index / (len(GRADES) - 1)) for index, grade in enumerate(GRADES)),
    ),
}
_OWNED = OWNED | {"core": "the judge's model runs in a process of its own"}


@dataclass(frozen=True, slots=True)
class Judge(Checked):
    """Rates by a model's opinion of each candidate, as the probabilities of one token.

    `ask` "yes" rates by P(Yes) / (P(Yes) + P(No)) (Zhang 2024, 2408.15240), "true" by P(True) likewise (Kadavath 2022,
    2207.05221), "rubric" by the expected grade from 1 to 5, mapped to [0, 1], by the criterion `rubric` (Liu 2023,
    2303.16634). The probabilities of all spellings of a word that are one token are added. If all words together have
    less probability than `min_mass`, the model did not answer the question: an error, not a rating. `parts` holds the
    mass. A model that thinks is asked without thinking, and reads only the final part of a candidate.

    The policy judges itself, with the prompt up to the candidate in its prefix cache, unless `model` names another
    model to run or `base_url` a server. With `model`, the options of the engine `vllm` are
    options too, such as `device_ids`; `args` is a file of vLLM's arguments. The judge sees no reference answer and no
    other candidate. A candidate's text may manipulate it.
    """

    open_options: ClassVar[OpenOptions] = OPEN

    ask: Ask = "yes"
    rubric: str = "the reasoning is sound and the answer correct"
    min_mass: Share = 0.5
    model: str = ""
    base_url: str = ""
    args: Mapping[str, Any] = field(default_factory=dict, hash=False)
    _own: list[Engine] = field(default_factory=list, init=False, repr=False, compare=False)
    _known: list[tuple[Engine, dict[str, TokenIds]]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        check_args(self.args, options_of(type(self)), _OWNED)
        if self.args and (self.base_url or not self.model):
            raise UsageError(
                f"{min(self.args)} has no effect: the judge runs no model of its own; give model, or omit it"
            )
        self._new_engine()

    def _new_engine(self) -> VllmEngine:
        """The engine of the judge's own model. In this process, two cores would wait for each other at every step."""
        options = {name: as_written(value) for name, value in self.args.items()}
        engine: VllmEngine = build("engine", Spec("vllm", options), model_id=self.model, core="async")
        return engine

    @property
    def logprobs(self) -> None:
        """None: it reads text alone."""

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
        if any(known is engine for known, _ in self._known):
            return
        self._known.append((engine, {word: await _spellings(engine, word) for word, _ in FORMS[self.ask].values}))

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

    async def bound(self, question: Question, candidate: Completion, policy: Engine) -> Cost:
        """The cost of the whole prompt, with nothing cached, and one token."""
        engine = self._engine(policy)
        tokens = (await engine.render(self._prompt(question, candidate))).tokens
        return verifier_cost(engine.model, Usage(tokens, 0, 1))

    async def score(self, question: Question, candidate: Completion, policy: Engine, cost_meter: CostMeter) -> Rating:
        """The model's rating of one candidate.

        Raises:
            VerifierError: it did not answer the question, or the prompt does not fit its context.
        """
        prompt, form = self._prompt(question, candidate), FORMS[self.ask]
        engine = self._engine(policy)
        spelled = next((ids for known, ids in self._known if known is engine), None)
        if spelled is None:
            raise VerifierError("the judge was not started with this engine: await its start(policy) first")
        watch = tuple(token for word, _ in form.values for token in spelled[word])
        rendered = await engine.render(prompt)
        if engine.model.context and rendered.tokens >= engine.model.context:
            raise VerifierError(
                f"the judge's prompt is {rendered.tokens:,} tokens and its context window {engine.model.context:,}"
            )
        meter = UsageMeter(Usage())
        request = SampleRequest(question.id, prompt, rendered, ONE_TOKEN, candidate.index, 0, watch=watch, meter=meter)
        try:
            completion = await engine.sample(request)
        except BaseException:
            cost_meter.cost = None if meter.usage is None else verifier_cost(engine.model, meter.usage)
            raise
        cost_meter.cost = verifier_cost(engine.model, completion.usage)
        if completion.logprobs is None or not completion.logprobs.watched:
            raise VerifierError(f"{engine.name} does not report the log-probabilities of chosen tokens")
        chance = dict(zip(watch, map(math.exp, completion.logprobs.watched[0]), strict=True))
        masses = [(math.fsum(chance[token] for token in spelled[word]), value) for word, value in form.values]
        value, mass = self._expected(masses)
        return Rating(value, cost_meter.cost, parts=(mass,))

    def _prompt(self, question: Question, candidate: Completion) -> Prompt:
        """The prompt of the policy, which is in its prefix cache, and the task of the judge, to do without thinking."""
        prompt, closing = question.prompt, FORMS[self.ask].closing.replace("{rubric}", self.rubric)
        text = prompt.raw or prompt.messages[-1].content
        system = next((message.content for message in prompt.messages if message.role == "system"), "")
        task = f"Proposed answer:\n{candidate.chain.strip()}\n\n{closing}"
        return Prompt.chat(f"{text}\n\n{task}", system=system).at_level(NO_THINKING)

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


async def _spellings(engine: Engine, word: str) -> TokenIds:
    """The single tokens that spell a word, with or without a blank, in either case."""
    tokens = await spellings(engine, word)
    if tokens is None:
        raise VerifierError(
            f"{engine.name} gives no access to its tokenizer: the judge needs vLLM, in this process or as a server"
        )
    if not tokens:
        raise VerifierError(f"no single token of {engine.model.name} spells {word!r}: choose another `ask`")
    return tokens
