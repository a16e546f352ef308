"""Chooses how a request is answered: by its vendor object, else by the alias in its model, else by the default."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any, Final

from reasoner.answers.kinds import AnswerKind
from reasoner.answers.questions import Question, with_instruction
from reasoner.answers.tool_calls import ToolCallSpace
from reasoner.budget import UNITS, Budget, Prices
from reasoner.errors import STRATEGIES, ReasonerError, UnknownName, UsageError, shown
from reasoner.execution.arguments import default_verifier
from reasoner.models.info import ModelInfo
from reasoner.registry import build, entries, expanded, load
from reasoner.serving.errors import ApiError, api_error
from reasoner.serving.requests import MAX_CHOICES, ChatRequest, CompletionRequest, Options
from reasoner.serving.specs import MAX_COUNT, build_client, client_kind, draws
from reasoner.serving.structure import ReplyForm, reply_form
from reasoner.specs import Bare, Spec
from reasoner.strategy import CalibratedStrategy, DrawsOnce, StopRule, Strategy
from reasoner.types import AnswerSpace, Message, Prompt, SamplingParams
from reasoner.verifier import Verifier

FREE: Final = "free"
TOOL_CALL: Final = ToolCallSpace.name
PASSED: Final = "single"
"""The strategy of a request that passes through; `none` is another name of it in a request."""
TEMPERATURE: Final = 1.0
"""That of a request that passes through, where neither it nor the model gives one, as in OpenAI's own service."""
REPLY_TOKENS: Final = 4096
"""The most tokens of a reply of any form by a model that does not think, where nothing else says it."""
SEEDS: Final = 2**63


@dataclass(frozen=True, slots=True)
class Alias:
    """A way to answer, under a name of the server's configuration: specs, as on the command line; empty is the default.

    `verifier` is a name of the `Offer`'s. `description` says in a line what it is for.
    """

    strategy: str
    verifier: str = ""
    answer: str = ""
    budget: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a server offers. `ceiling` limits each request, whatever its own budget is.

    `thinks` says whether the model thinks. `sampling` are the model's own parameters, and the most tokens of a reply of
    any form to a request without a limit. `engine` is the engine's name.
    """

    model: str
    default: Alias = Alias(PASSED, answer=FREE)
    aliases: Mapping[str, Alias] = field(default_factory=dict)
    verifiers: Mapping[str, Verifier] = field(default_factory=dict)
    ceiling: Budget = Budget()
    prices: Prices | None = None
    thinks: bool = False
    sampling: SamplingParams = SamplingParams()
    engine: str = ""

    @property
    def models(self) -> dict[str, str]:
        """The names that a request may give as its model, with their descriptions."""
        described = {f"{self.model}@{name}": alias.description for name, alias in self.aliases.items()}
        return {self.model: self.default.description, **described}


@dataclass(frozen=True, slots=True)
class Job:
    """One choice of a reply: a question and how it is to be answered. `model` is the name that the request gave.

    `rated_by` is the name of the verifier in the `Offer`. `notes` say what of the request is not done as it was sent.
    """

    question: Question
    strategy: Strategy
    verifier: Verifier | None
    budget: Budget | None
    stop: StopRule | None
    seed: int
    model: str
    notes: tuple[str, ...] = ()
    rated_by: str = ""

    @property
    def passes_through(self) -> bool:
        """Whether it is one completion of the prompt as it is."""
        return self.question.space.name == FREE and isinstance(self.strategy, DrawsOnce)

    def streams(self, model: ModelInfo) -> bool:
        """Whether its text can be passed on as it comes. Only at its end is it known whether a text calls a tool."""
        if self.question.prompt.tools:
            return False
        return isinstance(self.strategy, DrawsOnce) and self.strategy.draws_once(model)


def default_aliases() -> dict[str, Alias]:
    """The aliases of a server whose configuration names none."""
    return {name: Alias(spec, description=what) for name, (spec, what) in STRATEGIES.items()}


def choose(request: ChatRequest | CompletionRequest, offer: Offer) -> list[Job]:
    """The jobs that make a reply, in the order of its choices.

    Raises:
        ApiError: 404 for a model that there is not, 400 for what the server cannot do.
    """
    try:
        return _jobs(request, offer)
    except ReasonerError as error:
        raise api_error(error) from None


def _jobs(request: ChatRequest | CompletionRequest, offer: Offer) -> list[Job]:
    prompts = request.prompt if isinstance(request, CompletionRequest) else [""]
    choices = len(prompts) * request.n
    if choices > MAX_CHOICES:
        raise ApiError(400, f"n: at most {MAX_CHOICES} choices in one reply (got {choices})", param="n")
    form = reply_form(request) if isinstance(request, ChatRequest) else ReplyForm()
    options, notes = request.reasoner, list[str]()
    alias = _with_effort(_alias(request, offer), options, offer)
    strategy = _strategy(options, alias)
    answer = _answer_kind(options, alias, strategy, form)
    strategy = _formed(_sampled(strategy, request, offer, notes, kind=answer.name), form)
    rated_by = _verifier_name(options, alias, strategy, offer, notes)
    if choices > 1 and (samples := choices * draws(strategy)) > MAX_COUNT:
        problem = f"a request may draw at most {MAX_COUNT:,} samples in all its choices (got {samples:,}): lower n"
        raise ApiError(400, problem, param="n")
    budget = _budget(options, alias, offer, choices)
    with _in_field("reasoner.stop"):
        stop: StopRule | None = build_client("rule", options.stop) if options.stop else None
    seed = secrets.randbelow(SEEDS) if request.seed is None else request.seed
    questions = [_question(request, prompt, answer, form) for prompt in prompts]
    return [
        Job(
            questions[index // request.n],
            strategy,
            offer.verifiers[rated_by] if rated_by else None,
            budget,
            stop,
            (seed + index) % SEEDS,
            request.model,
            tuple(notes),
            rated_by,
        )
        for index in range(choices)
    ]


def _alias(request: ChatRequest | CompletionRequest, offer: Offer) -> Alias:
    """The alias that the request's model names; without one, the default."""
    base, at, name = request.model.rpartition("@")
    if request.model == offer.model:
        # A raw prompt is continued, whatever chats are answered by.
        return offer.default if isinstance(request, ChatRequest) else Alias(PASSED, answer=FREE)
    if at and base in ("", offer.model) and name in offer.aliases:
        return offer.aliases[name]
    unknown = UnknownName("model", request.model[:200], offer.models)
    raise ApiError(404, str(unknown), code="model_not_found", param="model")


def _with_effort(alias: Alias, options: Options, offer: Offer) -> Alias:
    """The alias `auto-EFFORT`, as its owner may have given it a profile, where an effort is all that is asked for."""
    if options.effort is None or options.strategy or Spec.parse(alias.strategy).name == "auto":
        return alias
    return offer.aliases.get(f"auto-{options.effort}", Alias("auto"))


def _strategy(options: Options, alias: Alias) -> Strategy:
    """The strategy, with the effort and the abstention that the request asks for."""
    added = {name: value for name in ("effort", "abstain_below") if (value := getattr(options, name)) is not None}
    if options.strategy:
        with _in_field("reasoner.strategy"):
            spec = expanded("strategy", Spec.parse(PASSED if options.strategy == "none" else options.strategy))
    else:
        spec = expanded("strategy", Spec.parse(alias.strategy))
    if added and spec.name != "auto":
        name = next(iter(added))
        problem = f"reasoner.{name} is an option of the strategy auto, not of {shown(spec.name)}: leave it out"
        raise ApiError(400, problem, param=f"reasoner.{name}")
    spec = Spec(spec.name, {**spec.options, **{name: Bare(value) for name, value in added.items()}})
    with _in_field("reasoner.strategy"):
        if options.strategy:
            return _clients(str(spec))
        return _owners(str(spec))


@lru_cache(maxsize=256)
def _clients(spec: str) -> Strategy:
    """A strategy that a request asks for; many requests ask for the same."""
    strategy: Strategy = build_client("strategy", spec)
    return strategy


@lru_cache(maxsize=256)
def _owners(spec: str) -> Strategy:
    """A strategy of the server's configuration, built once: it may read a profile."""
    strategy: Strategy = build("strategy", spec)
    return strategy


def _answer_kind(options: Options, alias: Alias, strategy: Strategy, form: ReplyForm) -> AnswerKind:
    can = bool(getattr(strategy, "free_form", False))
    with _in_field("reasoner.answer"):
        if options.answer:
            kind = client_kind(options.answer)
        elif alias.answer and not options.strategy:
            kind = AnswerKind.parse(alias.answer)
        else:
            votes = TOOL_CALL if form.tools else "json" if form.schema else "auto"
            kind = AnswerKind(FREE if can else votes, {})
    if kind.name == FREE and not can:
        able = sorted(name for name in entries("strategy") if getattr(load("strategy", name), "free_form", False))
        raise ApiError(
            400,
            "this strategy counts equal answers, so it cannot serve replies of any form (answer kind free): choose an "
            f"answer kind such as auto, or one of the strategies {', '.join(able)}",
            param="reasoner.answer",
        )
    return kind


def _question(request: ChatRequest | CompletionRequest, raw: str, kind: AnswerKind, form: ReplyForm) -> Question:
    """The question of a request. The prompt is as it was sent, but for what the answer kind says at its end."""
    turns = () if isinstance(request, CompletionRequest) else request.turns
    text = raw or turns[-1].content
    with _in_field("reasoner.answer"):
        space: AnswerSpace = form.space if kind.name == TOOL_CALL else kind.space(text)
    if not space.instruction:
        prompt = Prompt(turns, raw, tools=form.tools)
    elif raw:
        prompt = Prompt(raw=with_instruction(raw, space))
    elif turns[-1].role == "user" and text.strip():
        prompt = Prompt((*turns[:-1], Message("user", with_instruction(text, space))), tools=form.tools)
    else:
        problem = f"with the answer kind {space.name}, the last message must be a question of the user"
        raise ApiError(400, f"{problem} (got {turns[-1].role})", param="messages")
    return Question(f"q-{prompt.digest[:12]}", text, prompt, space)


def _sampled(
    strategy: Any, request: ChatRequest | CompletionRequest, offer: Offer, notes: list[str], *, kind: str
) -> Any:
    """The strategy with the request's sampling parameters where its own spec sets none."""
    asked = request.params
    if asked.temperature == 0 and draws(strategy) > 1:
        asked = replace(asked, temperature=None)
        notes.append("temperature=0 was not used: the strategy draws several samples, which must differ")
    if request.thinking is not None and offer.thinks:
        asked = replace(asked, thinking=request.thinking)
    elif request.thinking not in (None, "none"):
        notes.append("reasoning_effort was not used: the model does not think")
    if kind == FREE:
        # A reply of any form may be long; that of a model that thinks has a longer limit of its own.
        limit = None if offer.thinks else REPLY_TOKENS
        asked = asked.over(SamplingParams(max_tokens=offer.sampling.max_tokens), SamplingParams(max_tokens=limit))
    if kind == FREE and isinstance(strategy, DrawsOnce):
        asked = asked.over(SamplingParams(temperature=offer.sampling.temperature), SamplingParams(TEMPERATURE))
    if isinstance(strategy, CalibratedStrategy) and strategy.measured_on:
        if asked != SamplingParams():
            notes.append("the sampling parameters of the request were not used: those of the calibration apply")
        return strategy
    try:
        return _with_params(strategy, asked)
    except UsageError as error:
        notes.append(f"the sampling parameters of the request were not used: {error}")
        return strategy


def _formed(strategy: Any, form: ReplyForm) -> Any:
    """The strategy whose replies have a form. Unlike other parameters, a form that is not kept is an error."""
    if not form.schema:
        return strategy
    param = "tool_choice" if form.tools else "response_format"
    with _in_field(param):
        formed = _with_params(strategy, SamplingParams(json_schema=form.schema))
    if formed == strategy:
        raise ApiError(
            400, "this strategy cannot give its replies a form: choose another, or leave it out", param=param
        )
    return formed


@lru_cache(maxsize=1024)
def _with_params(strategy: Any, asked: SamplingParams) -> Any:
    """The same strategy with these parameters where its spec sets none; cached, as its checks take half a millisecond.

    Raises:
        UsageError: they do not fit its options.
    """
    inner = getattr(strategy, "of", None)
    if inner is not None:
        return replace(strategy, of=_with_params(inner, asked))
    given = getattr(strategy, "params", None)
    if not isinstance(given, SamplingParams):
        return strategy
    base = next((each.default for each in fields(strategy) if each.name == "params"), given)
    changes = {
        each.name: value
        for each in fields(SamplingParams)
        if (value := getattr(asked, each.name)) != each.default
        and getattr(given, each.name) == getattr(base, each.name)
    }
    return replace(strategy, params=replace(given, **changes)) if changes else strategy


def _verifier_name(options: Options, alias: Alias, strategy: Strategy, offer: Offer, notes: list[str]) -> str:
    """The name of the verifier that rates; empty where the strategy asks none."""
    if options.verifier and options.verifier not in offer.verifiers:
        unknown = UnknownName("verifier", options.verifier, offer.verifiers, of="this server")
        raise ApiError(400, str(unknown), param="reasoner.verifier")
    if not strategy.uses_verifier:
        if options.verifier:
            notes.append(f"the verifier {options.verifier} was not asked: the strategy uses none")
        return ""
    name = options.verifier or alias.verifier or default_verifier([strategy])
    if name not in offer.verifiers and len(offer.verifiers) == 1:
        name = next(iter(offer.verifiers))
    if name not in offer.verifiers:
        known = ", ".join(sorted(offer.verifiers)) or "none"
        raise ApiError(
            400, f"the strategy needs a verifier: name it as reasoner.verifier (there are: {known})",
            param="reasoner.verifier",
        )  # fmt: skip
    return name


def _budget(options: Options, alias: Alias, offer: Offer, choices: int) -> Budget | None:
    """The least of all limits, an equal share of it for each choice; a deadline is that of all."""
    with _in_field("reasoner.budget"):
        asked = options.limits
    if asked and asked.usd is not None and offer.prices is None:
        raise ApiError(400, "a budget in usd needs prices, which this server does not have: use tokens",
                       param="reasoner.budget")  # fmt: skip
    budgets = [asked or (Budget.parse(alias.budget) if alias.budget else Budget()), offer.ceiling]
    limits = {
        unit: min((limit for each in budgets if (limit := getattr(each, unit)) is not None), default=None)
        for unit in UNITS
    }
    budget = Budget(**limits)
    budget = replace(budget.divided(choices), seconds=budget.seconds) if choices > 1 else budget
    return budget if str(budget) else None


@contextmanager
def _in_field(param: str) -> Iterator[None]:
    """An error in what a field holds names the field."""
    try:
        yield
    except UsageError as error:
        raise ApiError(400, str(error), param=param) from None
