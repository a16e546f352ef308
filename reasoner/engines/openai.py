"""The engine over HTTP: any server with OpenAI's /v1 routes, at token level where it is a vLLM server."""

import asyncio
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from http import HTTPStatus

from reasoner.engines import openai_wire as wire
from reasoner.engines.openai_body import STREAMS, WHOLE_TOKENS, Dialect, Learned, read_extra, turns
from reasoner.engines.openai_groups import SHARED, Groups, Result, shares
from reasoner.engines.openai_http import GATEWAY_TIMEOUTS, Connection, Reply, Terms
from reasoner.engines.openai_limits import at_once, largest, longest
from reasoner.engines.openai_models import Listed, Tokenized, listed_models, tokenized
from reasoner.errors import EngineUnavailable, RequestLost, UnknownName, UsageError, require
from reasoner.models.card import ModelCard
from reasoner.protocols import Rendered, SampleRequest
from reasoner.redaction import SHORTEST_IN_TEXT
from reasoner.types import Completion, Message, Prompt, TokenIds, Usage

_HeadKey = tuple[tuple[Message, ...], str]
HEADS_KEPT = 1024
MODELS_NAMED = 20
MESSAGE_TOKENS, TEMPLATE_TOKENS = 16, 128
"""Bounds on what a chat template adds: to each message, and once. Some templates add a system turn of their own."""
_UNKNOWN_ROUTE = {404, 405, 422, 501}
_TEXT_ONLY = "the server takes no token ids: prompts go as text and continuation is not token-exact"
_FEWER_CHOICES = "the server returns fewer sequences than asked for in one request: each is asked for by itself"


@dataclass(slots=True, kw_only=True, eq=False)
class OpenAIEngine:
    """Draws sequences from a server with OpenAI's routes: a vLLM server, a fleet behind a router, a hosted API.

    `model_id` may be empty where the server has only one; `api_key` empty means the environment variable
    OPENAI_API_KEY. `timeout` is in seconds without a byte from the server. `patience` is for how many seconds a request
    is tried again that failed before it cost anything, as when the server is busy. `deadline` is how many seconds one
    reply may take in all; 0 means `timeout` and one second a token. `context` is the window in tokens, for servers that
    do not report it. `max_concurrency` bounds the requests in flight; 0 means up to 1,024, as far as the process may
    open files. `extra_body` is a JSON object that is merged into each request, or the path of a file that holds one.

    On a vLLM server prompts go as token ids and continuation is exact; elsewhere text is sent and `notes` says so.
    What nothing can interrupt and is short is not streamed. On servers other than vLLM, sequences of one prompt that
    start together are then drawn in one request, with one seed, that of the first; such servers count the prompt once.
    vLLM gets a request for each sequence, with its own seed: it computes each and reports the cached tokens of one.

    Raises:
        UsageError: an option is out of range.
    """

    base_url: str = "http://localhost:8000/v1"
    model_id: str = ""
    api_key: str = field(default="", repr=False)
    timeout: float = 120.0
    patience: float = 120.0
    deadline: float = 0.0
    context: int = 0
    max_concurrency: int = 0
    extra_body: str = ""
    _http: Connection = field(init=False, repr=False)
    _card: ModelCard | None = field(init=False, repr=False, default=None)
    _served: str = field(init=False, repr=False, default="")
    _dialect: Dialect = field(init=False, repr=False, default=Dialect())
    _exact: bool = field(init=False, repr=False, default=False)
    _extra: Mapping[str, object] = field(init=False, repr=False)
    _groups: Groups = field(init=False, repr=False)
    _heads: dict["_HeadKey", TokenIds] = field(init=False, repr=False, default_factory=dict)
    _asking: dict["_HeadKey", "asyncio.Future[TokenIds | None]"] = field(init=False, repr=False, default_factory=dict)
    _notes: list[str] = field(init=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        require(self.timeout, "timeout", above=0, below=math.inf)
        require(self.patience, "patience", at_least=0, below=math.inf)
        require(self.deadline, "deadline", at_least=0, below=math.inf)
        require(self.context, "context", at_least=0)
        require(self.max_concurrency, "max_concurrency", at_least=0)
        self._extra = read_extra(self.extra_body)
        # What decides a run is recorded with it, not where it was kept.
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
    def model(self) -> ModelCard:
        """The model being served, its geometry unknown; available once started."""
        if self._card is None:
            raise EngineUnavailable(f"the engine at {self._http.where} was not started: await its start() first")
        return self._card

    @property
    def notes(self) -> tuple[str, ...]:
        """What this server cannot do exactly; grows as its replies show it."""
        return tuple(self._notes)

    @property
    def capacity(self) -> None:
        """The server looks after its own KV cache."""
        return None

    async def start(self) -> None:
        """Find the model and what the server can do. Calling it again does nothing.

        Raises:
            EngineUnavailable: the server is out of reach, refuses, or serves no model.
            UnknownName: it does not serve `model_id`.
            UsageError: it serves several models and `model_id` is empty.
        """
        if self._card is not None:
            return
        chosen = await self._choose()
        self._served = chosen.id
        # A route of that name that takes no messages is another server's, and so are its token ids.
        told = await self._probe({"messages": [{"role": "user", "content": "1"}], "add_generation_prompt": True})
        if told is None and chosen.owned_by == "vllm":
            # A model without a chat template.
            told = await self._probe({"prompt": "1"})
        self._exact = told is not None
        self._dialect = Dialect(vllm=self._exact or chosen.owned_by == "vllm")
        if not self._exact:
            self._note(_TEXT_ONLY)
        self._note("a sequence that is cut off is counted up to the last event that the server sent")
        window = chosen.max_model_len or (told.max_model_len if told else 0) or self.context
        self._card = ModelCard(self._http.show(chosen.id, 500), window)

    async def _probe(self, asked: dict[str, object]) -> Tokenized | None:
        body = {"model": self._served, **asked}
        reply = await self._http.call("POST", self._http.root + "/tokenize", body, starting=True)
        return tokenized(reply.body) if reply.ok else None

    async def render(self, prompt: Prompt) -> Rendered:
        """The prompt's token ids where the server takes ids, else None and a bound on their number.

        A continuation that exists as text only, drawn by another engine, is sent as text.
        """
        if self._exact and (prompt.token_ids or not prompt.text):
            head = await self._head(prompt)
            if head is not None:
                ids = head + prompt.token_ids
                return Rendered(ids, len(ids))
        contents = [message.content for message in prompt.messages] or [prompt.raw]
        spelled = sum(len(text.encode("utf-8", "surrogatepass")) for text in (*contents, prompt.text))
        return Rendered(None, spelled + MESSAGE_TOKENS * (len(contents) + bool(prompt.text)) + TEMPLATE_TOKENS)

    async def encode(self, text: str) -> TokenIds | None:
        """The ids by the server's own tokenizer; None where it has no route for that."""
        return await self._tokenize({"prompt": text, "add_special_tokens": False}) if self._exact else None

    async def sample(self, request: SampleRequest) -> Completion:
        """Draw one sequence. Cancelling the awaiting task closes the connection, at which the server aborts it.

        What cost nothing is tried again here, with growing waits. A sequence that is not streamed and is cancelled all
        the same is booked at its bound: nobody can tell what it cost.

        Raises:
            EngineUnavailable: the server is out of reach, or refuses the request.
            RequestLost: it failed part-way; the meter holds what arrived, or None where the server said nothing at all.
        """
        request.meter.usage = Usage()
        while True:
            # What is None was refused and taught something, or is one of several that did not come.
            if drawn := await self._attempt(request):
                return drawn

    async def _attempt(self, request: SampleRequest) -> Completion | None:
        whole = self._dialect.whole and not request.interruptible and request.floor is None
        if not whole or request.params.max_tokens > WHOLE_TOKENS:
            return await self._streamed(request)
        if self._dialect.many and not self._dialect.vllm and not request.watch:
            return await self._groups.join(request, self._draw)
        [drawn] = await self._draw([request])
        if isinstance(drawn, RequestLost):
            raise drawn
        return drawn

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
        self._learn(draft.remarks(), wire.counting(request, draft.told, draft.heard))
        return completion

    def _take(self, draft: wire.Draft, data: bytes) -> None:
        try:
            draft.add(data)
        except wire.Malformed as error:
            shown = self._http.show(data[:4096].decode("utf-8", "replace"), 80)
            raise RequestLost(f"the server sent a malformed event: {shown}") from error
        except wire.GaveUp as error:
            raise RequestLost(f"{error}: {self._http.said(error.body)}") from error

    async def _draw(self, requests: Sequence[SampleRequest]) -> list[Result]:
        """Sequences of one prompt by one request whose reply is not streamed; a result of None is to be asked again."""
        dialect, first = self._dialect, requests[0]
        path, body = dialect.body(self._served, first, n=len(requests), stream=False)

        def sent(out: bool) -> None:
            for request in requests:
                request.meter.usage = None if out else Usage()

        reply = await self._http.whole(path, {**body, **self._extra}, self._terms(requests, sent))
        if reply.ok:
            return self._read(requests, reply)
        if reply.status in GATEWAY_TIMEOUTS:
            self._adopt(Learned(replace(self._dialect, whole=False), STREAMS))
            raise RequestLost(f"a proxy at {self._http.where} gave up waiting for a whole reply ({reply.status})")
        sent(False)
        self._refused(reply, body, dialect)
        return [None] * len(requests)

    def _read(self, requests: Sequence[SampleRequest], reply: Reply) -> list[Result]:
        try:
            told, drafts = wire.whole(reply.body, requests)
        except wire.Malformed as error:
            if reply.body.startswith(b"data:"):
                self._adopt(Learned(replace(self._dialect, whole=False), STREAMS))
            shown = self._http.show(reply.body[:4096].decode("utf-8", "replace"), 80)
            raise RequestLost(f"the server sent a malformed reply: {shown}") from error
        except wire.GaveUp as error:
            raise RequestLost(f"{error}: {self._http.said(error.body)}") from error
        usages, known = shares(told, drafts)
        results: list[Result] = []
        for draft, usage in zip(drafts, usages, strict=True):
            draft.request.meter.usage = usage if told else None
            try:
                results.append(self._clean(draft.completion(usage, requests[0].seed)))
            except RequestLost as lost:
                results.append(lost)
            self._learn(draft.remarks())
        self._learn(wire.counting(requests[0], told, sum(draft.heard for draft in drafts), len(drafts)))
        if told is None:
            self._dialect = replace(self._dialect, whole=False)
        elif not known:
            self._note(SHARED)
        missing = requests[len(drafts) :]
        if missing:
            self._adopt(Learned(replace(self._dialect, many=False), _FEWER_CHOICES))
        for request in missing:
            request.meter.usage = Usage()
        return results + [None] * len(missing)

    def _clean(self, drawn: Completion) -> Completion:
        """The sequence without the key, which a server may send back in any field."""
        text, thinking = (
            self._http.secrets.hide(one, shortest=SHORTEST_IN_TEXT) for one in (drawn.text, drawn.thinking)
        )
        return (
            drawn if (text, thinking) == (drawn.text, drawn.thinking) else replace(drawn, text=text, thinking=thinking)
        )

    def _terms(self, requests: Sequence[SampleRequest], sent: Callable[[bool], None]) -> Terms:
        """What one reply may take: time and bytes that are in proportion to the tokens that were asked for."""
        first = requests[0]
        return Terms(
            seconds=self.deadline or longest(first, self.timeout),
            size=largest(first, len(requests)),
            limit=f"max_tokens={first.params.max_tokens}",
            seed=first.seed,
            sent=sent,
        )

    def _refused(self, reply: Reply, body: Mapping[str, object], spoken: Dialect) -> None:
        """Learn from a refusal how to ask again.

        Raises:
            EngineUnavailable: nothing can be learned from it.
        """
        if self._dialect != spoken:
            return  # another request has learned meanwhile
        said = reply.body.decode("utf-8", "replace")
        learned = None
        if reply.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY):
            learned = spoken.after(body, said)
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
        cards = listed_models(reply.body)
        if cards is None:
            raise EngineUnavailable(
                f"{where}/models is not a list of models: set base_url to the address that ends in /v1"
            )
        if not cards:
            raise EngineUnavailable(f"{where} lists no model: load one there")
        if not self.model_id and len(cards) == 1:
            return next(iter(cards.values()))
        if self.model_id in cards:
            return cards[self.model_id]
        if self.model_id:
            near = get_close_matches(self.model_id, cards, n=MODELS_NAMED, cutoff=0.0)
            raise UnknownName("model", self.model_id, [self._http.show(name, 100) for name in near], of=where)
        named = [self._http.show(name, 100) for name in list(cards)[:MODELS_NAMED]]
        more = f" and {len(cards) - len(named)} more" if len(cards) > len(named) else ""
        raise UsageError(f"{where} serves several models: set model_id to one of {', '.join(named)}{more}")

    async def _head(self, prompt: Prompt) -> TokenIds | None:
        """The head's ids; sequences that ask for them at once share one request and go on in the order they came."""
        key = (prompt.messages, prompt.raw)
        if key in self._heads:
            return self._heads[key]
        asking = self._asking.get(key)
        if asking is None or asking.get_loop() is not asyncio.get_running_loop():
            asked: dict[str, object] = {"prompt": prompt.raw}
            if prompt.messages:
                # Arguments of the chat template change the ids.
                asked = {"messages": turns(prompt.messages), "add_generation_prompt": True, **self._extra}
            asking = self._asking[key] = asyncio.ensure_future(self._tokenize(asked))
            asking.add_done_callback(lambda done: self._told(key, done))
        return await asyncio.shield(asking)

    def _told(self, key: "_HeadKey", asking: "asyncio.Future[TokenIds | None]") -> None:
        if self._asking.get(key) is asking:
            del self._asking[key]
        if not asking.cancelled() and asking.exception() is None and (ids := asking.result()) is not None:
            if len(self._heads) >= HEADS_KEPT:
                del self._heads[next(iter(self._heads))]
            self._heads[key] = ids

    async def _tokenize(self, asked: Mapping[str, object]) -> TokenIds | None:
        """The ids; None where the server has no such route; it then gets text."""
        reply = await self._http.call("POST", self._http.root + "/tokenize", {"model": self._served, **asked})
        if reply.status in _UNKNOWN_ROUTE:
            self._exact = False
            self._note(_TEXT_ONLY)
            return None
        if not reply.ok:
            raise self._http.refusal(reply)
        told = tokenized(reply.body)
        if told is None:
            raise EngineUnavailable(f"{self._http.where}: /tokenize sent no token ids: restart the server")
        return told.tokens

    def _learn(self, *remarks: Iterable[str]) -> None:
        for one in remarks:
            for line in one:
                self._note(line)

    def _note(self, line: str) -> None:
        if line not in self._notes:
            self._notes.append(line)
