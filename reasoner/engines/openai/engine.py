"""The engine over HTTP: any server with OpenAI's /v1 routes, at token level where it is a vLLM server."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from http import HTTPStatus
from typing import Annotated, ClassVar, Final

from reasoner.engine import (
    Continuation,
    EngineUnavailable,
    ModelInfo,
    RenderedPrompt,
    RequestLost,
    SampleRequest,
    TokenIds,
    Usage,
)
from reasoner.engines.openai import wire
from reasoner.engines.openai.http import (
    GATEWAY_TIMEOUTS,
    Address,
    Notes,
    RequestLimits,
    ServerConnection,
    ServerReply,
    backoff,
)
from reasoner.engines.openai.rendering import Renderer
from reasoner.engines.openai.requests import (
    SECONDS_PER_TOKEN,
    STREAMS,
    WHOLE_TOKENS,
    Dialect,
    at_once,
    merged,
    read_extra,
    reply_bytes,
    text_bound,
)
from reasoner.engines.openai.values import ServedModel, ServedModels, ServerObject
from reasoner.errors import UnknownName, UsageError
from reasoner.models.families import AUTO
from reasoner.models.thinking import ThinkingProfile
from reasoner.specs import CheckedOptions, Range
from reasoner.system.printing import MIN_SECRET_IN_TEXT
from reasoner.types import Completion, Prompt

MODELS_NAMED: Final = 20


class SentReset(ServerObject):
    """The reply of vLLM's /reset_prefix_cache."""

    success: bool | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class OpenAIEngine(CheckedOptions):
    """Draws sequences from a server with OpenAI's routes: a vLLM server, a fleet behind a router, a hosted API.

    `base_url` is the server's address, with /v1. `model_id` may be empty where it has only one; `api_key` empty means
    the environment variable OPENAI_API_KEY. `timeout` is the longest silence of the server in seconds. `patience` is
    for how many seconds a request is retried that failed before it cost anything, for example because the server is
    busy. `deadline` is the total time of one reply in seconds; 0 means `timeout` plus one second per token. `context`
    is the window in tokens, for servers that do not report it. `max_concurrency` bounds the requests in flight; 0 means
    up to 1,024, as far as the process may open files. `extra_body` is a JSON object merged into each request, or the
    path of a file with one. `reasoning_parser` is the name of vLLM's parser for models that think like this one, or
    "none" for a model that does not think; "auto" finds it by the model's name and its chat template.

    A vLLM server, or `reasoner serve` on vLLM, gets token ids and continuation is exact; others get text, and `notes`
    says so. Each sequence is one request with its own seed. Short replies that nothing can interrupt are not streamed.

    Raises:
        UsageError: an option is out of range.
    """

    example: ClassVar[str] = "--base-url http://localhost:8000/v1"

    base_url: str = "http://localhost:8000/v1"
    model_id: str = ""
    api_key: str = field(default="", repr=False)
    timeout: Annotated[float, Range(above=0, below=math.inf)] = 120.0
    patience: Annotated[float, Range(at_least=0, below=math.inf)] = 120.0
    deadline: Annotated[float, Range(at_least=0, below=math.inf)] = 0.0
    context: Annotated[int, Range(at_least=0)] = 0
    max_concurrency: Annotated[int, Range(at_least=0)] = 0
    extra_body: str = ""
    reasoning_parser: str = AUTO
    capacity: int | None = field(default=None, init=False, repr=False)
    """None: the server manages its own KV cache."""
    _http: ServerConnection = field(init=False, repr=False)
    _model: ModelInfo | None = field(init=False, repr=False, default=None)
    _served: str = field(init=False, repr=False, default="")
    _dialect: Dialect = field(init=False, repr=False, default=Dialect())
    _extra: Mapping[str, object] = field(init=False, repr=False)
    _renderer: Renderer = field(init=False, repr=False)
    _notes: Notes = field(init=False, repr=False, default_factory=Notes)

    def complete(self) -> None:
        self._extra = read_extra(self.extra_body)
        # A run records the fields themselves, not the file that held them.
        self.extra_body = json.dumps(self._extra) if self._extra else ""
        concurrency = self.max_concurrency or at_once()
        address = Address.of(self.base_url, self.api_key)
        # Without its password: this field is part of specs and messages.
        self.base_url = address.base_url
        self._http = ServerConnection(
            address, self.timeout, self.patience, concurrency, self._notes
        )
        self._renderer = Renderer(self._http, self._extra, self._notes)

    @property
    def name(self) -> str:
        """What the engine is and where its server runs."""
        return f"openai at {self._http.where}"

    @property
    def model(self) -> ModelInfo:
        """The model being served, its geometry unknown; available after the start."""
        if self._model is None:
            raise EngineUnavailable(
                f"the engine at {self._http.where} is not started: await its start() first"
            )
        return self._model

    @property
    def notes(self) -> tuple[str, ...]:
        """What this server cannot do exactly; grows as its replies show more."""
        return tuple(self._notes)

    async def start(self) -> None:
        """Find the model and the server's abilities. Calling it again does nothing.

        Raises:
            EngineUnavailable: the server cannot be reached, refuses, or serves no model.
            UnknownName: it does not serve `model_id`.
            UsageError: it has several models and `model_id` is empty.
        """
        if self._model is not None:
            return
        chosen = await self._served_model()
        self._served = chosen.id
        rendered = await self._renderer.start(chosen, self.reasoning_parser)
        exact, own = self._renderer.exact, chosen.by_reasoner
        self._dialect = Dialect(
            vllm=not own and (exact or chosen.owned_by == "vllm"),
            by_reasoner=own and exact,
        )
        self._notes.add(
            "a cancelled sequence is counted up to the last event that the server sent"
        )
        window = (
            chosen.max_model_len
            or (rendered and rendered.max_model_len)
            or self.context
        )
        name, profile = self._http.show(chosen.id, 500), self._renderer.profile
        self._model = ModelInfo(name, window, thinking=profile, served=True)

    async def _served_model(self) -> ServedModel:
        """The model of the id `model_id`, or the only one that the server has where that is empty."""
        server, where = self._http, self._http.where
        reply = await server.call("GET", "/v1/models", starting=True)
        if not reply.ok:
            raise server.refusal(reply)
        listed = ServedModels.known(reply.body)
        if listed is None:
            raise EngineUnavailable(
                f"{where}/models is not a list of models: set base_url to the address that ends in /v1"
            )
        models = listed.by_id
        if not models:
            raise EngineUnavailable(f"{where} lists no model: load one there")
        # `reasoner serve` lists MODEL@ALIAS for each way in which it answers with MODEL.
        plain = [
            model
            for name, model in models.items()
            if name.rpartition("@")[0] not in models
        ]
        if self.model_id in models or (not self.model_id and len(plain) == 1):
            return models.get(self.model_id) or plain[0]

        def shown(names: Iterable[str]) -> list[str]:
            return [server.show(name, 100) for name in names]

        if self.model_id:
            near = get_close_matches(self.model_id, models, n=MODELS_NAMED, cutoff=0.0)
            raise UnknownName("model", self.model_id, shown(near), of=where)
        more = (
            f" and {len(models) - MODELS_NAMED} more"
            if len(models) > MODELS_NAMED
            else ""
        )
        names = ", ".join(shown(list(models)[:MODELS_NAMED]))
        raise UsageError(
            f"{where} serves several models: set model_id to one of {names}{more}"
        )

    @property
    def continues(self) -> Continuation | None:
        """By its completions route or `continue_final_message`; a server that is not vLLM may have neither."""
        return "text" if self._renderer.exact or self._dialect.vllm else "never"

    @property
    def limits_thinking(self) -> bool:
        """Whether the server ends thinking itself at a number of tokens, as `reasoner serve` does."""
        return self._dialect.by_reasoner

    async def render(self, prompt: Prompt) -> RenderedPrompt:
        """The prompt's token ids where the server takes ids, else None and a bound on their number.

        A continuation that exists only as text, because another engine drew it, is sent as text.
        """
        if rendered := await self._renderer.render(prompt):
            return rendered
        return text_bound(prompt, self._renderer.profile, self._dialect)

    async def encode(self, text: str) -> TokenIds | None:
        """The ids by the server's tokenizer; None where it has no route for that."""
        return await self._renderer.encode(text)

    async def sample(self, request: SampleRequest) -> Completion:
        """Draw one sequence. Cancelling the awaiting task closes the connection, and the server then aborts it.

        A request that cost nothing is retried here, with growing waits. A sequence that is not streamed and is
        cancelled is booked at its bound, as its cost is unknown.

        Raises:
            EngineUnavailable: the server cannot be reached, or refuses the request.
            RequestLost: it failed part-way; the meter holds what arrived, or None where nothing arrived.
        """
        request.meter.usage = Usage()
        while True:
            watched = request.interruptible or request.progress or request.on_text
            whole = (
                self._dialect.unstreamed
                and not watched
                and request.params.limit <= WHOLE_TOKENS
            )
            # None: the refusal changed the dialect.
            if completion := await (
                self._whole(request) if whole else self._streamed(request)
            ):
                return completion

    async def _streamed(self, request: SampleRequest) -> Completion | None:
        profile = self._read_by(request)
        dialect, draft, meter = (
            self._dialect,
            wire.Draft(request, profile),
            request.meter,
        )
        path, body = dialect.body(self._served, request, profile, stream=True)
        accepted = False

        def sent(out: bool) -> None:
            meter.usage = draft.usage if out else Usage()

        def take(events: Sequence[bytes]) -> None:
            nonlocal accepted
            accepted = True
            try:
                self._take(draft, events)
            finally:
                meter.usage = draft.usage

        try:
            refusal = await self._http.stream(
                path, merged(body, self._extra), self._terms(request, sent), take
            )
        except RequestLost:
            if not accepted:
                meter.usage = None
            raise
        if refusal:
            self._refused(refusal, body, dialect)
            return None
        return await self._completed(draft, draft.usage)

    def _take(self, draft: wire.Draft, events: Sequence[bytes]) -> None:
        """Add the events, and pass on their text."""
        data = b""
        try:
            for data in events:
                draft.add(data)
            draft.pass_on()
        except wire.MalformedReply as error:
            shown = self._http.show(data[:4096].decode("utf-8", "replace"), 80)
            raise RequestLost(f"the server sent a malformed event: {shown}") from error
        except wire.ServerFailure as error:
            raise RequestLost(f"{error}: {self._http.message(error.body)}") from error

    async def _whole(self, request: SampleRequest) -> Completion | None:
        """A sequence by a request that is not streamed; None where it must be requested again."""
        profile, dialect, meter = self._read_by(request), self._dialect, request.meter
        path, body = dialect.body(self._served, request, profile, stream=False)

        def sent(out: bool) -> None:
            meter.usage = None if out else Usage()

        terms = self._terms(request, sent)
        reply = await self._http.unstreamed(path, merged(body, self._extra), terms)
        if reply.ok:
            return await self._read(request, reply, profile)
        if reply.status in GATEWAY_TIMEOUTS:
            self._adopt(replace(self._dialect, unstreamed=False), STREAMS)
            raise RequestLost(
                f"a proxy at {reply.where} gave up waiting for a whole reply ({reply.status})"
            )
        sent(False)
        self._refused(reply, body, dialect)
        return None

    async def _read(
        self,
        request: SampleRequest,
        reply: ServerReply,
        profile: ThinkingProfile | None,
    ) -> Completion:
        try:
            draft = wire.parse_reply(reply.body, request, profile)
        except wire.MalformedReply as error:
            if reply.body.startswith(b"data:"):
                self._adopt(replace(self._dialect, unstreamed=False), STREAMS)
            shown = self._http.show(reply.body[:4096].decode("utf-8", "replace"), 80)
            raise RequestLost(f"the server sent a malformed reply: {shown}") from error
        except wire.ServerFailure as error:
            raise RequestLost(f"{error}: {self._http.message(error.body)}") from error
        usage = draft.usage
        if draft.reported is None:
            self._dialect = replace(self._dialect, unstreamed=False)
        else:
            request.meter.usage = usage
        return await self._completed(draft, usage)

    def _read_by(self, request: SampleRequest) -> ThinkingProfile | None:
        """How the model thinks; notes what a server does not heed of the request's thinking level."""
        profile, exact = self._renderer.profile, request.rendered.token_ids is not None
        if request.prompt.thinking_level is not None:
            self._notes.add(
                *self._dialect.unheeded(request.prompt, profile, exact=exact)
            )
        return profile

    async def _completed(self, draft: wire.Draft, usage: Usage) -> Completion:
        """The sequence in its parts, with its thinking tokens and without the key."""
        parts = await wire.read_parts(draft, self._renderer)
        usage = draft.with_thinking(usage, parts)
        self._notes.add(*draft.remarks(parts, usage))
        return self._without_secrets(draft.completion(usage, parts))

    def _without_secrets(self, completion: Completion) -> Completion:
        """The sequence without the key, which a server may send back in any field."""
        hide = self._http.secrets.hide
        text = hide(completion.text, shortest=MIN_SECRET_IN_TEXT)
        thinking = hide(completion.thinking, shortest=MIN_SECRET_IN_TEXT)
        same = text is completion.text and thinking is completion.thinking
        return completion if same else replace(completion, text=text, thinking=thinking)

    def _terms(
        self, request: SampleRequest, sent: Callable[[bool], None]
    ) -> RequestLimits:
        """Limits of one reply: time and bytes."""
        tokens = request.params.limit
        return RequestLimits(
            seconds=self.deadline or self.timeout + tokens * SECONDS_PER_TOKEN,
            size=reply_bytes(request),
            limit=f"max_tokens={tokens}",
            seed=request.seed,
            sent=sent,
            question_id=request.question_id,
            late_errors_cost=self._dialect.vllm,
        )

    def _refused(
        self, reply: ServerReply, body: Mapping[str, object], used: Dialect
    ) -> None:
        """Adapt the dialect to a refusal.

        Raises:
            UsageError: the request cannot work.
            EngineUnavailable: the refusal names nothing to adapt.
        """
        if self._dialect != used:
            return  # another request has adapted it meanwhile
        learned = None
        if reply.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY):
            learned = used.after(body, reply.body.decode("utf-8", "replace"))
        if learned is None:
            raise self._http.request_refusal(reply)
        self._adopt(*learned)

    def _adopt(self, dialect: Dialect, note: str) -> None:
        self._dialect = dialect
        self._notes.add(note)

    async def reset_caches(self) -> None:
        """Empty the prefix cache of a vLLM server; a note says where that is not possible."""
        if self._model is None or not self._dialect.vllm:
            return
        server = self._http
        # How often a cache is emptied that is in use: an aborted sequence may hold it for a moment
        for attempt in range(6):
            try:
                reply = await server.call("POST", "/reset_prefix_cache", patience=0)
            except EngineUnavailable:
                return  # a server that is down has nothing cached
            if not reply.ok:
                self._notes.add(
                    f"{server.where} does not empty its prefix cache ({reply.status}): start vLLM with "
                    "VLLM_SERVER_DEV_MODE=1, or later work is charged less"
                )
                return
            # Servers of before 2026 report nothing.
            done = SentReset.known(reply.body)
            if done is None or done.success is not False:
                return
            await server.sleep(backoff(attempt, 0))
        self._notes.add(
            f"{server.where} did not empty its prefix cache, as it is in use: later work is charged less"
        )

    async def close(self) -> None:
        """Close the connections. Calling it again does nothing; a later request opens new ones."""
        await self._http.close()
