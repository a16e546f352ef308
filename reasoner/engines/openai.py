"""The engine over HTTP: any server with OpenAI's /v1 routes, at token level where it is a vLLM server."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches

from pydantic import ValidationError

from reasoner.engines.openai_http import Connection, tidy
from reasoner.engines.openai_wire import Draft, ListedModel, ModelList, TokenizeReply
from reasoner.errors import EngineUnavailable, RequestLost, UnknownName, UsageError
from reasoner.models.card import ModelCard
from reasoner.protocols import Rendered, SampleRequest
from reasoner.types import Completion, Message, Prompt, SamplingParams, TokenIds, Usage

_HeadKey = tuple[tuple[Message, ...], str]
HEADS_KEPT = 1024
MODELS_NAMED = 20
MESSAGE_TOKENS, TEMPLATE_TOKENS = 16, 128
"""Bounds on what a chat template adds: to each message, and once. Some templates add a system turn of their own."""


@dataclass(slots=True, kw_only=True, eq=False)
class OpenAIEngine:
    """Draws sequences from a server with OpenAI's routes: a vLLM server, a fleet behind a router, a hosted API.

    `model_id` may be empty where the server has only one; `api_key` empty means the environment variable
    OPENAI_API_KEY. `timeout` is in seconds without a byte from the server. `retries` counts further tries of a request
    that failed before it cost anything. `context` is the window in tokens, for servers that do not report it.

    On a vLLM server prompts go as token ids and continuation is exact; elsewhere text is sent and `notes` says so.

    Raises:
        UsageError: an option is out of range.
    """

    base_url: str = "http://localhost:8000/v1"
    model_id: str = ""
    api_key: str = field(default="", repr=False)
    timeout: float = 120.0
    retries: int = 4
    context: int = 0
    _http: Connection = field(init=False, repr=False)
    _card: ModelCard | None = field(init=False, repr=False, default=None)
    _vllm: bool = field(init=False, repr=False, default=False)
    _exact: bool = field(init=False, repr=False, default=False)
    _heads: dict["_HeadKey", TokenIds] = field(init=False, repr=False, default_factory=dict)
    _asking: dict["_HeadKey", "asyncio.Future[TokenIds]"] = field(init=False, repr=False, default_factory=dict)
    _notes: list[str] = field(init=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        ranges: tuple[tuple[str, bool, str], ...] = (
            ("timeout", 0 < self.timeout < float("inf"), "a number of seconds above 0"),
            ("retries", self.retries >= 0, "0 or more"),
            ("context", self.context >= 0, "0 (unknown) or more"),
        )
        for name, fine, allowed in ranges:
            if not fine:
                raise UsageError(f"{name}={getattr(self, name)} is out of range: {name} is {allowed}")
        self._http = Connection(self.base_url, self.api_key, self.timeout, self.retries)

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
        card = await self._choose()
        reply = await self._http.call("POST", self._http.root + "/tokenize", {"model": card.id, "prompt": "1"})
        told: TokenizeReply | None = None
        with suppress(ValidationError):
            told = TokenizeReply.model_validate_json(reply.body) if reply.ok else None
        self._exact = told is not None
        self._vllm = self._exact or card.owned_by == "vllm"
        if not self._exact:
            self._note("the server takes no token ids: prompts go as text and continuation is not token-exact")
        self._note("a sequence that is cut off is counted up to the last event that the server sent")
        self._card = ModelCard(card.id, card.max_model_len or (told.max_model_len if told else 0) or self.context)

    async def render(self, prompt: Prompt) -> Rendered:
        """The prompt's token ids where the server takes ids, else None and a bound on their number.

        A continuation that exists as text only, drawn by another engine, is sent as text.
        """
        if self._exact and (prompt.token_ids or not prompt.text):
            ids = await self._head(prompt) + prompt.token_ids
            return Rendered(ids, len(ids))
        contents = [message.content for message in prompt.messages] or [prompt.raw]
        spelled = sum(len(text.encode("utf-8", "surrogatepass")) for text in (*contents, prompt.text))
        return Rendered(None, spelled + MESSAGE_TOKENS * (len(contents) + bool(prompt.text)) + TEMPLATE_TOKENS)

    async def encode(self, text: str) -> TokenIds | None:
        """The ids by the server's own tokenizer; None where it has no route for that."""
        return await self._tokenize(text=text) if self._exact else None

    async def sample(self, request: SampleRequest) -> Completion:
        """Draw one sequence. Cancelling the awaiting task closes the connection, at which the server aborts it.

        What cost nothing is tried again here, with growing waits.

        Raises:
            EngineUnavailable: the server is out of reach, or refuses the request.
            RequestLost: it failed part-way; the meter holds what arrived, or None where the server said nothing at all.
        """
        path, body = self._body(request)
        draft = Draft(request)
        request.meter.usage = Usage()
        try:
            async with self._http.stream(path, body, seed=request.seed) as events:
                request.meter.usage = draft.usage
                async for data in events:
                    draft.add(data)
                    request.meter.usage = draft.usage
                    if draft.cut:
                        break
        except RequestLost:
            if not request.meter.usage.prompt_tokens:
                request.meter.usage = None
            raise
        completion = draft.completion()
        self._learn(draft)
        return completion

    async def close(self) -> None:
        """Close the connections. Calling it again does nothing; a later request opens new ones."""
        await self._http.close()

    async def _choose(self) -> ListedModel:
        reply = await self._http.call("GET", self._http.base_url + "/models")
        if not reply.ok:
            raise self._http.refusal(reply)
        try:
            cards = {card.id: card for card in ModelList.model_validate_json(reply.body).data}
        except ValidationError as error:
            raise EngineUnavailable(
                f"{self._http.where}/models is no list of models: set base_url to the address that ends in /v1"
            ) from error
        if not cards:
            raise EngineUnavailable(f"{self._http.where} lists no model: load one there")
        if not self.model_id and len(cards) == 1:
            return next(iter(cards.values()))
        if self.model_id in cards:
            return cards[self.model_id]
        if self.model_id:
            near = get_close_matches(self.model_id, cards, n=MODELS_NAMED, cutoff=0.0)
            raise UnknownName("model", self.model_id, [tidy(name, 100) for name in near], of=self._http.where)
        named = [tidy(name, 100) for name in list(cards)[:MODELS_NAMED]]
        more = f" and {len(cards) - len(named)} more" if len(cards) > len(named) else ""
        raise UsageError(f"{self._http.where} serves several models: set model_id to one of {', '.join(named)}{more}")

    async def _head(self, prompt: Prompt) -> TokenIds:
        """The head's ids; sequences that ask for them at once share one request and go on in the order they came."""
        key = (prompt.messages, prompt.raw)
        if key in self._heads:
            return self._heads[key]
        asking = self._asking.get(key)
        if asking is None or asking.get_loop() is not asyncio.get_running_loop():
            asking = self._asking[key] = asyncio.ensure_future(self._tokenize(prompt))
            asking.add_done_callback(lambda done: self._told(key, done))
        return await asyncio.shield(asking)

    def _told(self, key: "_HeadKey", asking: "asyncio.Future[TokenIds]") -> None:
        if self._asking.get(key) is asking:
            del self._asking[key]
        if not asking.cancelled() and asking.exception() is None:
            if len(self._heads) >= HEADS_KEPT:
                del self._heads[next(iter(self._heads))]
            self._heads[key] = asking.result()

    async def _tokenize(self, prompt: Prompt | None = None, *, text: str = "") -> TokenIds:
        body: dict[str, object] = {"model": self.model.name}
        if prompt is None:
            body |= {"prompt": text, "add_special_tokens": False}
        elif prompt.messages:
            body |= {"messages": _turns(prompt.messages), "add_generation_prompt": True}
        else:
            body["prompt"] = prompt.raw
        reply = await self._http.call("POST", self._http.root + "/tokenize", body)
        if not reply.ok:
            raise self._http.refusal(reply)
        try:
            return tuple(TokenizeReply.model_validate_json(reply.body).tokens)
        except ValidationError as error:
            raise EngineUnavailable(f"{self._http.where}: /tokenize sent no token ids: restart the server") from error

    def _body(self, request: SampleRequest) -> tuple[str, dict[str, object]]:
        prompt, k = request.prompt, request.params.logprobs
        body = {"model": self.model.name, "seed": request.seed, "stream": True, **_drawing(request.params, self._vllm)}
        body["stream_options"] = {"include_usage": True} | ({"continuous_usage_stats": True} if self._vllm else {})
        if request.watch:
            return self._watching(request, body)
        if request.rendered.token_ids is None and prompt.messages:
            turns = _turns(prompt.messages)
            if prompt.text:
                turns.append({"role": "assistant", "content": prompt.text})
                if self._vllm:
                    body |= {"add_generation_prompt": False, "continue_final_message": True}
            if k is not None:
                # vLLM lists the sampled token first and inside the count, so that one more shows the k best.
                body |= {"logprobs": True, "top_logprobs": min(k + 1, 20) if k and self._vllm else k}
            return "/chat/completions", body | {"messages": turns}
        if k is not None:
            body["logprobs"] = k
            if self._vllm:
                # Alternatives are keyed by their text, and two tokens may have the same: both are kept under their ids.
                body["return_tokens_as_token_ids"] = True
        if request.rendered.token_ids is None:
            return "/completions", body | {"prompt": prompt.raw + prompt.text}
        return "/completions", body | {"prompt": list(request.rendered.token_ids), "return_token_ids": True}

    def _watching(self, request: SampleRequest, body: dict[str, object]) -> tuple[str, dict[str, object]]:
        """Only vLLM's chat route tells the log-probabilities of chosen tokens."""
        prompt = request.prompt
        if not self._vllm or not prompt.messages or prompt.text or prompt.token_ids:
            raise EngineUnavailable(
                f"{self._http.where} tells no log-probabilities of chosen tokens: use a vLLM server, and a prompt of "
                "messages alone"
            )
        body |= {"messages": _turns(prompt.messages), "logprobs": True, "return_tokens_as_token_ids": True}
        return "/chat/completions", body | {"logprob_token_ids": list(request.watch)}

    def _learn(self, draft: Draft) -> None:
        """Note what a whole reply shows that the server cannot do."""
        if draft.request.rendered.token_ids is not None and draft.text and not draft.token_ids:
            self._note("the server returns no token ids: what continues a reply goes as text and is not token-exact")
        if draft.told is None:
            self._note("the server reports no usage: prompts are counted at a bound and generated tokens by the chunk")
        elif draft.told.prompt_tokens_details is None or draft.told.prompt_tokens_details.cached_tokens is None:
            self._note("the server reports no cached tokens: all prompt tokens count as computed")
        if draft.finish == "stop" and draft.request.params.stop and not draft.names_stop:
            self._note("the server does not say what stopped a sequence: a stop string reads as the model's own end")

    def _note(self, line: str) -> None:
        if line not in self._notes:
            self._notes.append(line)


def _turns(messages: tuple[Message, ...]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _drawing(params: SamplingParams, vllm: bool) -> dict[str, object]:
    """The sampling options. Only vLLM knows all of them, and takes from the model's files any that is left out."""
    body: dict[str, object] = {
        "temperature": params.temperature,
        "max_tokens": params.max_tokens,
        "top_p": params.top_p,
    }
    if params.stop:
        body["stop"] = list(params.stop)
    if params.top_k or vllm:
        body["top_k"] = params.top_k
    if params.min_p or vllm:
        body["min_p"] = params.min_p
    if params.stop_token_ids:
        body["stop_token_ids"] = list(params.stop_token_ids)
    if vllm:
        body["repetition_penalty"] = 1.0
    return body
