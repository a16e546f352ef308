"""Chooses how a request is answered: by its vendor object, else by the alias in its model, else by the default."""

import json
import secrets
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache, partial
from typing import Annotated, Any, Final, cast

from pydantic import Field

from reasoner.answers.kinds import AnswerKind
from reasoner.answers.questions import Question, with_instruction
from reasoner.budget import UNITS, Budget, Prices
from reasoner.errors import UnknownName, UsageError, shown
from reasoner.execution.inputs import default_verifier
from reasoner.execution.session import Session
from reasoner.models.info import ModelInfo
from reasoner.registry import aliases, build, entries, load
from reasoner.serving.errors import ApiError
from reasoner.serving.requests import (
    MAX_COUNT,
    ONLY_SAMPLED,
    PASSED,
    ChatRequest,
    StrictPart,
    Tool,
    Turn,
    VendorOptions,
    draws,
    read_as,
)
from reasoner.solution import Solution
from reasoner.strategy import CalibratedStrategy, SingleDrawStrategy, StopRule, Strategy
from reasoner.system.values import value
from reasoner.trace.events import Event, Sink, tee
from reasoner.types import (
    LONGEST_SCHEMA,
    Message,
    Prompt,
    SamplingParams,
    ThinkingLevel,
)
from reasoner.verifier import Verifier

FREE: Final = "free"
SEEDS: Final = 2**63
NO_LIMIT: Final = Budget()


class Alias(StrictPart):
    """A way to answer, under a name of the server's configuration; None and an empty name leave the choice open.

    `verifier` is a name of the `Offer`'s. `description` says in a line what it is for. A request passes through where
    there is no strategy.
    """

    strategy: Annotated[Strategy, read_as(partial(build, "strategy"))] = Field(
        default_factory=partial(build, "strategy", PASSED)
    )
    verifier: str = ""
    answer: Annotated[AnswerKind | None, read_as(AnswerKind.parse)] = None
    budget: Annotated[Budget | None, read_as(Budget.parse)] = None
    description: str = ""


def default_aliases() -> dict[str, Alias]:
    """The aliases that every server offers."""
    return {
        name: Alias(strategy=build("strategy", spec), description=what)
        for name, (spec, what) in aliases().items()
    }


@dataclass(frozen=True, slots=True)
class Offer:
    """What a server offers. `ceiling` limits each request, whatever its own budget is.

    `model` is known when the engine has started.
    """

    default: Alias
    aliases: Mapping[str, Alias] = field(default_factory=dict)
    verifiers: Mapping[str, Verifier] = field(default_factory=dict)
    prices: Prices | None = None
    ceiling: Budget = Budget()
    model: ModelInfo = ModelInfo("model")

    @property
    def models(self) -> dict[str, str]:
        """The names that a request may give as its model, with their descriptions."""
        name = self.model.name
        described = {
            f"{name}@{alias}": meaning.description
            for alias, meaning in self.aliases.items()
        }
        return {name: self.default.description, **described}

    def group_of(self, name: str) -> str:
        """The group of the strategy behind a name of `models`; empty for the model itself and where it names none."""
        alias = self.aliases.get(name.removeprefix(f"{self.model.name}@"))
        return str(getattr(alias.strategy, "listed_under", "")) if alias else ""

    def check(self) -> None:
        """Choose by the default and each alias once, so that what does not fit is known before the engine starts.

        Raises:
            UsageError: the verifier of an alias is not offered, or the parts of an alias do not fit each other.
        """
        for name in ("", *self.aliases):
            model = f"{self.model.name}@{name}" if name else self.model.name
            try:
                choose(
                    ChatRequest(
                        model=model, messages=[Turn(role="user", content="1 + 1?")]
                    ),
                    self,
                )
            except ApiError as error:
                where = f"the alias {name}" if name else "the default"
                raise UsageError(f"{where}: {error.message}") from error


@value(frozen=True, slots=True)
class Job:
    """One choice of a reply: a question and how it is to be answered.

    `rated_by` is the name of the verifier in the `Offer`. `notes` say what of the request is not done as it was sent.
    `draws_once` says whether one sequence is the reply; `streams` whether its text can be passed on as it comes;
    `logprobs` whether the reply names the log-probabilities of its tokens, `by_ids` whether it has its token ids.
    """

    question: Question
    strategy: Strategy
    verifier: Verifier | None
    budget: Budget | None
    stop: StopRule | None
    seed: int
    notes: tuple[str, ...] = ()
    rated_by: str = ""
    draws_once: bool = False
    streams: bool = False
    logprobs: bool = False
    by_ids: bool = False

    @property
    def passes_through(self) -> bool:
        """Whether it is one completion of the prompt as it is."""
        return self.draws_once and self.question.space.name == FREE

    async def solve(
        self, session: Session, sink: Sink | None = None, **options: Any
    ) -> Solution:
        """The solution with its events, which a sink receives too; the options are those of `Session.solve`.

        Raises:
            UsageError: as `Session.solve`.
        """
        events: list[Event] = []
        solution = await session.solve(
            self.question,
            self.strategy,
            verifier=self.verifier,
            budget=self.budget,
            stop=self.stop,
            trace=tee(events.append, sink) if sink else events.append,
            seed=self.seed,
            **options,
        )
        return replace(solution, events=tuple(events))


@dataclass(frozen=True, slots=True)
class ReplyForm:
    """The form that a request asks for: a JSON schema, as JSON, and the tools that the model may call, as JSON.

    Without either the reply is text.
    """

    schema: str = ""
    tools: str = ""


@contextmanager
def _in_field(param: str | None) -> Iterator[None]:
    """An error in what a field holds names the field."""
    try:
        yield
    except UsageError as error:
        raise ApiError(400, str(error), param=param) from None


@_in_field(None)
def choose(request: ChatRequest, offer: Offer) -> list[Job]:
    """The jobs that make a reply, in the order of its choices.

    Raises:
        ApiError: 404 for an unknown model, 400 for what the server cannot do.
    """
    form, options = _form(request), request.reasoner
    alias = _alias(request.model, offer)
    strategy = options.strategy or alias.strategy
    passed = form.tools and not (options.answer or _is_free(strategy))
    if passed:
        strategy = build("strategy", "single")
    kind = _answer_kind(options, alias, strategy, form)
    free, known = kind.name == FREE, cast("Hashable", strategy)
    strategy, noted, once = _sampled(
        known, request.params, request.thinking, offer.model, free=free
    )
    strategy, notes = _formed(strategy, form), [*noted]
    if passed:
        notes.append(
            "with tools one reply is drawn and passed through: votes count answers, and a call of a tool is none"
        )
    if request.logprobs:
        strategy = _with_logprobs(strategy, request.top_logprobs)
    rated_by = _verifier_name(options, alias, strategy, offer, notes)
    if request.n > 1 and (samples := request.n * draws(strategy)) > MAX_COUNT:
        problem = (
            f"a request may draw at most {MAX_COUNT:,} samples in all its choices "
            f"(got {samples:,}): lower n"
        )
        raise ApiError(400, problem, param="n")
    seed = secrets.randbelow(SEEDS) if request.seed is None else request.seed
    question = _question(request.turns, kind, form)
    if request.continue_token_ids:
        ids = tuple(request.continue_token_ids)
        question = replace(question, prompt=replace(question.prompt, token_ids=ids))
    by_ids = request.by_ids
    job = Job(
        question,
        strategy,
        offer.verifiers[rated_by] if rated_by else None,
        _budget(request, alias, offer),
        options.stop,
        seed % SEEDS,
        tuple(notes),
        rated_by,
        once,
        # Only at its end is it known whether a text calls a tool, and what its tokens are.
        streams=once and (by_ids or not (form.tools or request.logprobs)),
        logprobs=request.logprobs and not by_ids,
        by_ids=by_ids,
    )
    if by_ids and not job.passes_through:
        raise ApiError(
            400,
            "token ids are of one completion, but this request asks for a strategy: leave one of them out",
            param="return_token_ids"
            if request.return_token_ids
            else "continue_token_ids",
        )
    if request.top_logprobs and not by_ids:
        raise ApiError(
            400,
            f"top_logprobs is not supported: {ONLY_SAMPLED}",
            code="unsupported_parameter",
            param="top_logprobs",
        )
    return [
        job,
        *(replace(job, seed=(seed + index) % SEEDS) for index in range(1, request.n)),
    ]


def _alias(model: str, offer: Offer) -> Alias:
    """The alias that a request's model names, or the default."""
    base, at, name = model.rpartition("@")
    if model == offer.model.name:
        return offer.default
    if at and base in ("", offer.model.name) and name in offer.aliases:
        return offer.aliases[name]
    raise ApiError(
        404,
        str(UnknownName("model", model[:200], offer.models)),
        code="model_not_found",
        param="model",
    )


def _is_free(strategy: object) -> bool:
    """Whether a strategy serves replies of any form, as it counts no equal answers."""
    return bool(getattr(strategy, "free_form", False))


def _answer_kind(
    options: VendorOptions, alias: Alias, strategy: Strategy, form: ReplyForm
) -> AnswerKind:
    can = _is_free(strategy)
    kind = options.answer or (alias.answer if not options.strategy else None)
    kind = kind or AnswerKind(FREE if can else "json" if form.schema else "auto", {})
    if kind.name == FREE and not can:
        able = sorted(
            name for name in entries("strategy") if _is_free(load("strategy", name))
        )
        raise ApiError(
            400,
            "this strategy counts equal answers, so it cannot serve replies of any form (answer kind free): choose an "
            f"answer kind such as auto, or one of the strategies {', '.join(able)}",
            param="reasoner.answer",
        )
    return kind


def _question(
    turns: tuple[Message, ...], kind: AnswerKind, form: ReplyForm
) -> Question:
    """The question of a request. The prompt is as it was sent; a kind of answer may add an instruction at its end."""
    *earlier, last = turns
    with _in_field("reasoner.answer"):
        space = kind.space(last.content)
    if space.instruction:
        if last.role != "user" or not last.content.strip():
            problem = f"with the answer kind {space.name}, the last message must be a question of the user"
            raise ApiError(400, f"{problem} (got {last.role})", param="messages")
        turns = (*earlier, Message("user", with_instruction(last.content, space)))
    prompt = Prompt(turns, tools=form.tools)
    return Question(f"q-{prompt.digest[:12]}", last.content, prompt, space)


@lru_cache(maxsize=256)
def _sampled(
    strategy: Any,
    asked: SamplingParams,
    thinking: ThinkingLevel | None,
    model: ModelInfo,
    *,
    free: bool,
) -> tuple[Any, tuple[str, ...], bool]:
    """The strategy with a request's sampling parameters where its own spec sets none, and notes on those not used.

    The last value says whether it draws once. Cached: the checks of a strategy take half a millisecond.
    """
    notes: list[str] = []
    once = isinstance(strategy, SingleDrawStrategy)
    drawn = isinstance(strategy, SingleDrawStrategy) and strategy.draws_once(model)
    if asked.temperature == 0 and draws(strategy) > 1:
        asked = replace(asked, temperature=None)
        notes.append(
            "temperature=0 was not used: the strategy draws several samples, which must differ"
        )
    if thinking is not None and model.thinking:
        asked = replace(asked, thinking=thinking)
    elif thinking not in (None, "none"):
        notes.append("reasoning_effort was not used: the model does not think")
    if free:
        # A reply of any form may be long; a model that thinks has a longer limit of its own.
        limit = None if model.thinking else 4096
        asked = asked.over(
            SamplingParams(
                model.sampling.temperature if once else None, model.sampling.max_tokens
            ),
            # The default of a request that passes through, if the model has none; OpenAI's own
            SamplingParams(1.0 if once else None, limit),
        )
    if isinstance(strategy, CalibratedStrategy) and strategy.measured_on:
        if asked != SamplingParams():
            notes.append(
                "the sampling parameters of the request were not used: those of the calibration apply"
            )
        return strategy, tuple(notes), drawn
    try:
        return _with_params(strategy, asked), tuple(notes), drawn
    except UsageError as error:
        return (
            strategy,
            (*notes, f"the sampling parameters of the request were not used: {error}"),
            drawn,
        )


def _formed(strategy: Any, form: ReplyForm) -> Any:
    """The strategy with replies in the form. Unlike other parameters, a form that is ignored is an error."""
    if not form.schema:
        return strategy
    param = "tool_choice" if form.tools else "response_format"
    with _in_field(param):
        formed = _with_params(strategy, SamplingParams(json_schema=form.schema))
    if formed == strategy:
        raise ApiError(
            400,
            "this strategy cannot give its replies a form: choose another, or leave it out",
            param=param,
        )
    return formed


def _with_logprobs(strategy: Any, top: int) -> Any:
    """The same strategy with the log-probabilities of sampled tokens and of `top` others, where it has none itself."""
    inner, given = getattr(strategy, "of", None), getattr(strategy, "params", None)
    if inner is not None:
        return replace(strategy, of=_with_logprobs(inner, top))
    if isinstance(given, SamplingParams) and given.logprobs is None:
        return replace(strategy, params=replace(given, logprobs=top))
    return strategy


def _with_params(strategy: Any, asked: SamplingParams) -> Any:
    """The same strategy with these parameters where its spec sets none.

    Raises:
        UsageError: they do not fit its options.
    """
    inner = getattr(strategy, "of", None)
    if inner is not None:
        return replace(strategy, of=_with_params(inner, asked))
    given = getattr(strategy, "params", None)
    if not isinstance(given, SamplingParams):
        return strategy
    base = next(
        (each.default for each in fields(strategy) if each.name == "params"), given
    )
    changes = {
        each.name: value
        for each in fields(SamplingParams)
        if (value := getattr(asked, each.name)) != each.default
        and getattr(given, each.name) == getattr(base, each.name)
    }
    return replace(strategy, params=replace(given, **changes)) if changes else strategy


def _verifier_name(
    options: VendorOptions,
    alias: Alias,
    strategy: Strategy,
    offer: Offer,
    notes: list[str],
) -> str:
    """The name of the verifier that rates; empty where the strategy asks none."""
    name = options.verifier or alias.verifier
    if name and name not in offer.verifiers:
        unknown = UnknownName("verifier", name, offer.verifiers, of="this server")
        raise ApiError(400, str(unknown), param="reasoner.verifier")
    if not strategy.uses_verifier:
        if options.verifier:
            notes.append(
                f"the verifier {options.verifier} was not asked: the strategy uses none"
            )
        return ""
    name = name or default_verifier([strategy])
    if name not in offer.verifiers:
        known = ", ".join(sorted(offer.verifiers)) or "none"
        problem = f"the strategy needs a verifier: name it as reasoner.verifier (there are: {known})"
        raise ApiError(400, problem, param="reasoner.verifier")
    return name


def _budget(request: ChatRequest, alias: Alias, offer: Offer) -> Budget | None:
    """The smallest of all limits, divided equally among the choices; a deadline is not divided.

    A request draws at most `MAX_COUNT` samples, unless its strategy is all the owner's: an alias, asked for once.
    """
    asked = request.reasoner.budget
    if asked and asked.usd is not None and offer.prices is None:
        problem = (
            "a budget in usd needs prices, which this server does not have: use tokens"
        )
        raise ApiError(400, problem, param="reasoner.budget")
    owners = not request.reasoner.strategy and request.n == 1
    return _least(
        (
            asked or alias.budget or NO_LIMIT,
            offer.ceiling,
            NO_LIMIT if owners else Budget(samples=MAX_COUNT),
        ),
        request.n,
    )


@lru_cache(maxsize=256)
def _least(budgets: tuple[Budget, ...], choices: int) -> Budget | None:
    limits = {
        unit: min(
            (limit for each in budgets if (limit := getattr(each, unit)) is not None),
            default=None,
        )
        for unit in UNITS
    }
    budget = Budget(**limits)
    budget = (
        replace(budget.divided(choices), seconds=budget.seconds)
        if choices > 1
        else budget
    )
    return budget if str(budget) else None


def _form(request: ChatRequest) -> ReplyForm:
    """The form that a chat asks for. Raises ApiError: the schema, the tools and the choice of one contradict."""
    given = request.response_format.schema_given if request.response_format else None
    schema = "" if given is None else _schema(given, "response_format")
    choice = request.tool_choice
    if not request.tools and choice not in (None, "none", "auto"):
        raise ApiError(
            400,
            "tool_choice has no effect without tools: leave it out",
            param="tool_choice",
        )
    if not request.tools or choice == "none":
        return ReplyForm(schema)
    if schema:
        raise ApiError(
            400,
            "a reply cannot both satisfy a schema and call tools: leave one of them out",
            param="response_format",
        )
    parameters = {
        tool.function.name: tool.function.parameters or {"type": "object"}
        for tool in request.tools
    }
    tools = json.dumps(
        [tool.model_dump(exclude_unset=True) for tool in request.tools], sort_keys=True
    )
    if choice in (None, "auto"):
        return ReplyForm("", tools)
    if isinstance(choice, Tool):
        name = choice.function.name
        if name not in parameters:
            known = ", ".join(parameters)
            problem = (
                f"tool_choice names {shown(name)}, which is none of the tools {known}"
            )
            raise ApiError(400, problem, param="tool_choice")
        parameters = {name: parameters[name]}
    return ReplyForm(_schema(_call_schema(parameters), "tools"), tools)


def _schema(schema: dict[str, Any], param: str) -> str:
    text = json.dumps(schema, sort_keys=True)
    if len(text) > LONGEST_SCHEMA:
        problem = f"{param} must have at most {LONGEST_SCHEMA:,} characters (got {len(text):,})"
        raise ApiError(400, problem, param=param)
    return text


def _call_schema(parameters: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The schema of one call, as JSON, of any of the functions with these parameters."""
    calls = [
        {
            "type": "object",
            "properties": {
                "name": {"const": name},
                "arguments": {"$ref": f"#/$defs/{name}"},
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for name in parameters
    ]
    defined = {
        name: _moved(schema, f"#/$defs/{name}") for name, schema in parameters.items()
    }
    return {**(calls[0] if len(calls) == 1 else {"anyOf": calls}), "$defs": defined}


def _moved(schema: dict[str, Any], to: str) -> dict[str, Any]:
    """The schema as a part of another one, in which its references lead to the same."""

    def pointed(part: dict[str, Any]) -> dict[str, Any]:
        reference = part.get("$ref")
        return (
            {**part, "$ref": to + reference[1:]}
            if isinstance(reference, str) and reference[:1] == "#"
            else part
        )

    moved: dict[str, Any] = json.loads(json.dumps(schema), object_hook=pointed)
    return moved
