"""The engine over HTTP: any server with OpenAI's /v1 routes, at token level where it is a vLLM server."""

import asyncio
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from http import HTTPStatus
from typing import ClassVar

from reasoner.engine import Rendered, SampleRequest
from reasoner.engines.openai import wire
from reasoner.engines.openai.groups import SHARED, Groups, Result, shares
from reasoner.engines.openai.http import GATEWAY_TIMEOUTS, Connection, Reply, Terms
from reasoner.engines.openai.requests import (
    STREAMS,
    WHOLE_TOKENS,
    Dialect,
    Learned,
    at_once,
    largest,
    longest,
    read_extra,
    turns,
)
from reasoner.engines.openai.values import Listed, Tokenized, listed_models, tokenized
from reasoner.errors import EngineUnavailable, RequestLost, UnknownName, UsageError, require
from reasoner.models.info import ModelInfo
from reasoner.system.redaction import MIN_LENGTH_IN_TEXT
from reasoner.types import Completion, Prompt, TokenIds, Usage

HEADS_KEPT = 1024
MODELS_NAMED = 20
MESSAGE_TOKENS, TEMPLATE_TOKENS = 16, 128
"""Bounds on the tokens that a chat template adds: per message, and once. Some templates add a system turn."""
_UNKNOWN_ROUTE = {404, 405, 422, 501}
_TEXT_ONLY = "the server takes no token ids: prompts are sent as text and continuation is not token-exact"
_FEWER_CHOICES = "the server returns fewer sequences than requested: each gets its own request"


@dataclass(slots=True, kw_only=True, eq=False)
class OpenAIEngine:
    """Draws sequences from a server with OpenAI's routes: a vLLM server, a fleet behind a router, a hosted API.

    `base_url` is the server's address, with /v1. `model_id` may be empty where the server has only one; `api_key` empty
    means the environment variable OPENAI_API_KEY. `timeout` is the longest silence of the server in seconds. `patience`
    is for how many seconds a request is retried that failed before it cost anything, for example because the server is
    busy. `deadline` is the total time of one reply in seconds; 0 means `timeout` plus one second per token. `context`
    is the window in tokens, for servers that do not report it. `max_concurrency` bounds the requests in flight; 0 means
    up to 1,024, as far as the process may open files. `extra_body` is a JSON object merged into each request, or the
    path of a file with one.

    A vLLM server gets prompts as token ids and continuation is exact; others get text, and `notes` says so. Short
    replies that nothing can interrupt are not streamed. On servers other than vLLM, such sequences of one prompt that
    start together are drawn by one request, with the seed of the first; these servers count the prompt once. vLLM gets
    one request per sequence, with its own seed: it computes each and reports the cached tokens of one.

    Raises:
        UsageError: an option is out of range.
    """

    example: ClassVar[str] = "--base-url http://localhost:8000/v1"

    base_url: str = "http://localhost:8000/v1"
    model_id: str = ""
    api_key: str = field(default="", repr=False)
    timeout: float = 120.0
    patience: float = 120.0
    deadline: float = 0.0
    context: int = 0
    max_concurrency: int = 0
    extra_body: str = ""
    capacity: int | None = field(default=None, init=False, repr=False)
    """None: the server manages its own KV cache."""
    _http: Connection = field(init=False, repr=False)
    _model: ModelInfo | None = field(init=False, repr=False, default=None)
    _served: str = field(init=False, repr=False, default="")
    _dialect: Dialect = field(init=False, repr=False, default=Dialect())
    _exact: bool = field(init=False, repr=False, default=False)
    _extra: Mapping[str, object] = field(init=False, repr=False)
    _groups: Groups = field(init=False, repr=False)
    _heads: dict[str, TokenIds] = field(init=False, repr=False, default_factory=dict)
    _pending: dict[str, "asyncio.Future[TokenIds | None]"] = field(init=False, repr=False, default_factory=dict)
    _notes: list[str] = field(init=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        require(self.timeout, "timeout", above=0, below=math.inf)
        for name in ("patience", "deadline"):
            require(getattr(self, name), name, at_least=0, below=math.inf)
        for name in ("context", "max_concurrency"):
            require(getattr(self, name), name, at_least=0)
        self._extra = read_extra(self.extra_body)
        # A run records the fields themselves, not the file that held them.
        self.extra_body = json.dumps(self._extra) if self._extra else ""
        concurrency = self.max_concurrency or at_once()
        self._http = Connection(self.base_url, self.api_key, self.timeout, self.patience, concurrency)
        # Without its password: this field is part of specs and messages.
        self.base_url = self._http.where
        self._groups = Groups()

    @property
    def name(self) -> str:
        """What the engine is and where its server runs."""
        return f"openai at {self._http.where}"

    @property
    def model(self) -> ModelInfo:
        """The model being served, its geometry unknown; available after the start."""
        if self._model is None:
            raise EngineUnavailable(f"the engine at {self._http.where} is not started: await its start() first")
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
            UsageError: it serves several models and `model_id` is empty.
        """
        if self._model is not None:
            return
        chosen = await self._choose()
        self._served = chosen.id
        # A route of that name that takes no messages is not vLLM's, and its token ids mean nothing here.
        tokens = await self._probe({"messages": [{"role": "user", "content": "1"}], "add_generation_prompt": True})
        if tokens is None and chosen.owned_by == "vllm":
            # A model without a chat template.
            tokens = await self._probe({"prompt": "1"})
        self._exact = tokens is not None
        self._dialect = Dialect(vllm=self._exact or chosen.owned_by == "vllm")
        if not self._exact:
            self._note(_TEXT_ONLY)
        self._note("a cancelled sequence is counted up to the last event that the server sent")
        window = chosen.max_model_len or (tokens.max_model_len if tokens else 0) or self.context
        self._model = ModelInfo(self._http.show(chosen.id, 500), window, served=True)

    async def _probe(self, prompt: dict[str, object]) -> Tokenized | None:
        body = {"model": self._served, **prompt}
        reply = await self._http.call("POST", self._http.root + "/tokenize", body, starting=True)
        return tokenized(reply.body) if reply.ok else None

    async def render(self, prompt: Prompt) -> Rendered:
        """The prompt's token ids where the server takes ids, else None and a bound on their number.

        A continuation that exists only as text, because another engine drew it, is sent as text.
        """
        if self._exact and (prompt.token_ids or not prompt.text):
            head = await self._head(prompt)
            if head is not None:
                ids = head + prompt.token_ids
                return Rendered(ids, len(ids))
        contents = [message.content for message in prompt.messages] or [prompt.raw]
        size = sum(len(text.encode("utf-8", "surrogatepass")) for text in (*contents, prompt.text))
        return Rendered(None, size + MESSAGE_TOKENS * (len(contents) + bool(prompt.text)) + TEMPLATE_TOKENS)

    async def encode(self, text: str) -> TokenIds | None:
        """The ids by the server's tokenizer; None where it has no route for that."""
        return await self._tokenize({"prompt": text, "add_special_tokens": False}) if self._exact else None

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
            # None: the refusal changed the dialect, or the reply held fewer sequences than requested.
            if completion := await self._attempt(request):
                return completion

    async def _attempt(self, request: SampleRequest) -> Completion | None:
        unstreamed = self._dialect.unstreamed and not request.interruptible and request.floor is None
        if not unstreamed or request.params.limit > WHOLE_TOKENS:
            return await self._streamed(request)
        if self._dialect.batches and not self._dialect.vllm and not request.watch:
            return await self._groups.join(request, self._draw)
        [completion] = await self._draw([request])
        if isinstance(completion, RequestLost):
            raise completion
        return completion

    async def _streamed(self, request: SampleRequest) -> Completion | None:
        dialect, draft, meter = self._dialect, wire.Draft(request), request.meter
        path, body = dialect.body(self._served, request, n=1, stream=True)
        accepted = False

        def sent(out: bool) -> None:
            meter.usage = draft.usage if out else Usage()

        try:
            async with self._http.stream(path, {**body, **self._extra}, self._terms([request], sent)) as events:
                if isinstance(events, Reply):
                    self._refused(events, body, dialect)
                    return None
                accepted = True
                async for data in events:
                    self._take(draft, data)
                    meter.usage = draft.usage
                    if draft.cut:
                        break
        except RequestLost:
            if not accepted:
                meter.usage = None
            raise
        completion = self._clean(draft.completion(draft.usage, request.seed))
        self._note(*draft.remarks(), *wire.counting(request, draft.reported, draft.heard))
        return completion

    def _take(self, draft: wire.Draft, data: bytes) -> None:
        try:
            draft.add(data)
        except wire.Malformed as error:
            shown = self._http.show(data[:4096].decode("utf-8", "replace"), 80)
            raise RequestLost(f"the server sent a malformed event: {shown}") from error
        except wire.GaveUp as error:
            raise RequestLost(f"{error}: {self._http.message(error.body)}") from error

    async def _draw(self, requests: Sequence[SampleRequest]) -> list[Result]:
        """Sequences of one prompt by one request that is not streamed; a result of None must be requested again."""
        dialect, first = self._dialect, requests[0]
        path, body = dialect.body(self._served, first, n=len(requests), stream=False)

        def sent(out: bool) -> None:
            for request in requests:
                request.meter.usage = None if out else Usage()

        reply = await self._http.unstreamed(path, {**body, **self._extra}, self._terms(requests, sent))
        if reply.ok:
            return self._read(requests, reply)
        if reply.status in GATEWAY_TIMEOUTS:
            self._adopt(Learned(replace(self._dialect, unstreamed=False), STREAMS))
            raise RequestLost(f"a proxy at {self._http.where} gave up waiting for a whole reply ({reply.status})")
        sent(False)
        self._refused(reply, body, dialect)
        return [None] * len(requests)

    def _read(self, requests: Sequence[SampleRequest], reply: Reply) -> list[Result]:
        try:
            reported, drafts = wire.parse_reply(reply.body, requests)
        except wire.Malformed as error:
            if reply.body.startswith(b"data:"):
                self._adopt(Learned(replace(self._dialect, unstreamed=False), STREAMS))
            shown = self._http.show(reply.body[:4096].decode("utf-8", "replace"), 80)
            raise RequestLost(f"the server sent a malformed reply: {shown}") from error
        except wire.GaveUp as error:
            raise RequestLost(f"{error}: {self._http.message(error.body)}") from error
        usages, exact = shares(reported, drafts)
        results: list[Result] = []
        for draft, usage in zip(drafts, usages, strict=True):
            draft.request.meter.usage = usage if reported else None
            try:
                results.append(self._clean(draft.completion(usage, requests[0].seed)))
            except RequestLost as lost:
                results.append(lost)
            self._note(*draft.remarks())
        self._note(*wire.counting(requests[0], reported, sum(draft.heard for draft in drafts), len(drafts)))
        if reported is None:
            self._dialect = replace(self._dialect, unstreamed=False)
        elif not exact:
            self._note(SHARED)
        missing = requests[len(drafts) :]
        if missing:
            self._adopt(Learned(replace(self._dialect, batches=False), _FEWER_CHOICES))
        for request in missing:
            request.meter.usage = Usage()
        return results + [None] * len(missing)

    def _clean(self, completion: Completion) -> Completion:
        """The sequence without the key, which a server may send back in any field."""
        text = self._http.secrets.hide(completion.text, shortest=MIN_LENGTH_IN_TEXT)
        thinking = self._http.secrets.hide(completion.thinking, shortest=MIN_LENGTH_IN_TEXT)
        if (text, thinking) == (completion.text, completion.thinking):
            return completion
        return replace(completion, text=text, thinking=thinking)

    def _terms(self, requests: Sequence[SampleRequest], sent: Callable[[bool], None]) -> Terms:
        """Limits of one reply: time and bytes in proportion to the requested tokens."""
        first = requests[0]
        return Terms(
            seconds=self.deadline or longest(first, self.timeout),
            size=largest(first, len(requests)),
            limit=f"max_tokens={first.params.limit}",
            seed=first.seed,
            sent=sent,
        )

    def _refused(self, reply: Reply, body: Mapping[str, object], used: Dialect) -> None:
        """Adapt the dialect to a refusal.

        Raises:
            EngineUnavailable: the refusal names nothing to adapt.
        """
        if self._dialect != used:
            return  # another request has adapted it meanwhile
        learned = None
        if reply.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY):
            learned = used.after(body, reply.body.decode("utf-8", "replace"))
        if learned is None:
            raise self._http.refusal(reply)
        self._adopt(learned)

    def _adopt(self, learned: Learned) -> None:
        self._dialect = learned.dialect
        self._note(learned.note)

    async def close(self) -> None:
        """Close the connections. Calling it again does nothing; a later request opens new ones."""
        await self._http.close()

    async def _choose(self) -> Listed:
        where = self._http.where
        reply = await self._http.call("GET", self._http.base_url + "/models", starting=True)
        if not reply.ok:
            raise self._http.refusal(reply)
        models = listed_models(reply.body)
        if models is None:
            raise EngineUnavailable(
                f"{where}/models is not a list of models: set base_url to the address that ends in /v1"
            )
        if not models:
            raise EngineUnavailable(f"{where} lists no model: load one there")
        if not self.model_id and len(models) == 1:
            return next(iter(models.values()))
        if self.model_id in models:
            return models[self.model_id]
        if self.model_id:
            near = get_close_matches(self.model_id, models, n=MODELS_NAMED, cutoff=0.0)
            raise UnknownName("model", self.model_id, [self._http.show(name, 100) for name in near], of=where)
        names = [self._http.show(name, 100) for name in list(models)[:MODELS_NAMED]]
        more = f" and {len(models) - len(names)} more" if len(models) > len(names) else ""
        raise UsageError(f"{where} serves several models: set model_id to one of {', '.join(names)}{more}")

    async def _head(self, prompt: Prompt) -> TokenIds | None:
        """The head's ids; sequences that need them at the same time share one request and continue in their order."""
        key = prompt.head_digest
        if key in self._heads:
            return self._heads[key]
        pending = self._pending.get(key)
        if pending is None or pending.get_loop() is not asyncio.get_running_loop():
            body: dict[str, object] = {"prompt": prompt.raw}
            if prompt.messages:
                # Arguments of the chat template change the ids.
                body = {"messages": turns(prompt.messages), "add_generation_prompt": True, **self._extra}
            pending = self._pending[key] = asyncio.ensure_future(self._tokenize(body))
            pending.add_done_callback(lambda done: self._keep_head(key, done))
        return await asyncio.shield(pending)

    def _keep_head(self, key: str, pending: "asyncio.Future[TokenIds | None]") -> None:
        if self._pending.get(key) is pending:
            del self._pending[key]
        if not pending.cancelled() and pending.exception() is None and (ids := pending.result()) is not None:
            if len(self._heads) >= HEADS_KEPT:
                del self._heads[next(iter(self._heads))]
            self._heads[key] = ids

    async def _tokenize(self, body: Mapping[str, object]) -> TokenIds | None:
        """The ids; None where the server has no such route, which then gets text."""
        reply = await self._http.call("POST", self._http.root + "/tokenize", {"model": self._served, **body})
        if reply.status in _UNKNOWN_ROUTE:
            self._exact = False
            self._note(_TEXT_ONLY)
            return None
        if not reply.ok:
            raise self._http.refusal(reply)
        tokens = tokenized(reply.body)
        if tokens is None:
            raise EngineUnavailable(f"{self._http.where}: /tokenize sent no token ids: restart the server")
        return tokens.tokens

    def _note(self, *notes: str) -> None:
        self._notes += [note for note in notes if note not in self._notes]
