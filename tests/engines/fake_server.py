"""A small HTTP server on this machine that speaks OpenAI's routes as vLLM or a text-only server does, with faults."""

import itertools
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

from tests.engines.fake_tokenizer import (
    BOS,
    BYTE,
    CLOSE,
    EOS,
    MARKERS,
    THINK,
    TURN,
    spell,
    spell_chat,
)
from tests.waiting import PATIENCE

_PIECE, _THOUGHT = 500, 700


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one request: a status in place of the reply, or something after `after` events of it.

    "close" drops the connection before any reply, "silent" never answers; "cut", "stall" and "send" let it begin.
    """

    kind: Literal["status", "close", "silent", "cut", "stall", "send"]
    status: int = 0
    body: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    after: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it arrived; `port` tells connections apart."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    port: int


@dataclass(slots=True, kw_only=True)
class FakeServer:
    """Serves while the `with` block runs. Every field may be changed between requests.

    `reply` is the text of each token. `vllm` switches on /tokenize, token ids and all else that only vLLM has; the
    other flags take single parts of it away. `faults` are used up by the sampling requests, one each; `at` is called
    before the reply to the sampling request of a number, from 1. `stalled` says that it waits for a client to leave, and `disconnected` that
    one has left. `resets` are replies to the request to empty the
    prefix cache.

    `thinking` comes before the reply, unless the prompt ended it. The chat route sends it in the field `thinks_in`, or
    in "both", as Mistral's "list", or as "text" between its markers. `opens` makes the chat template open thinking,
    which `enable_thinking` turns off.
    """

    vllm: bool = True
    tokenizes: bool = True
    returns_ids: bool = True
    reports_usage: bool = True
    owner: str = "vllm"
    models: tuple[str, ...] = ("tiny",)
    context: int | None = 512
    reply: tuple[str, ...] = ("The", " answer", " is", " 4")
    finish: str = "stop"
    stop_reason: int | str | None = None
    cached: int = 0
    thinking: tuple[str, ...] = ()
    thinks_in: str = "reasoning"
    opens: bool = False
    reports_thinking: bool = False
    root: str = ""
    bytes_per_write: int = 1 << 20
    faults: list[Fault] | list[Fault | None] = field(default_factory=list)
    at: dict[int, Callable[[], None]] = field(default_factory=dict)
    resets: list[str] = field(default_factory=list)
    dead: bool = False
    start_fault: Fault | None = None
    tokenize_faults: list[Fault] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    stalled: threading.Event = field(default_factory=threading.Event)
    disconnected: threading.Event = field(default_factory=threading.Event)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _open: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _server: "_Server" = field(init=False)

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.state = self
        threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.01},
            daemon=True,
        ).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.dead:
            self.die()

    def die(self) -> None:
        """Serve no more; what is connected is dropped at its next request."""
        self.dead = True
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it serves, /v1 included."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def count(self, connections: int) -> None:
        """Note that connections were opened, or closed where negative."""
        with self._changed:
            self._open += connections
            self._changed.notify_all()

    def wait_until_left(self) -> bool:
        """Whether all connections are closed, soon."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._open, PATIENCE)

    def sent(self, path: str) -> list[dict[str, Any]]:
        """The bodies that arrived at one path, in order."""
        return [seen.body for seen in self.seen if seen.path == path]

    def tokens(self, body: dict[str, Any]) -> dict[str, Any]:
        """The reply of /tokenize."""
        ids = (
            [BOS, *spell(body["prompt"])]
            if "prompt" in body
            else spell_chat(body["messages"])
        )
        if "prompt" in body and not body.get("add_special_tokens", True):
            ids = ids[1:]
        if "messages" in body and not body.get("add_generation_prompt", True):
            ids = ids[:-1]
        elif "messages" in body and self.opens:
            off = (body.get("chat_template_kwargs") or {}).get(
                "enable_thinking"
            ) is False
            ids += [THINK, CLOSE] if off else [THINK]
        strs = (
            [self.text_of([token]) for token in ids]
            if body.get("return_token_strs")
            else None
        )
        return {
            "count": len(ids),
            "max_model_len": self.context or 512,
            "tokens": ids,
            "token_strs": strs,
        }

    def text_of(self, ids: list[int]) -> str:
        """The text of token ids, markers and all."""
        known = {THINK: "<think>", CLOSE: "</think>", BOS: "", EOS: "", TURN: ""}
        known |= dict(enumerate(self.reply, _PIECE)) | dict(
            enumerate(self.thinking, _THOUGHT)
        )
        return "".join(
            known[i] if i in known else bytes([i - BYTE]).decode("latin-1") for i in ids
        )

    def _drawn(
        self, body: dict[str, Any], *, chat: bool
    ) -> list[tuple[int, str, bool]]:
        """The tokens of the reply, each with its text and whether it belongs to thinking."""
        thoughts = [
            (_THOUGHT + at, piece, True) for at, piece in enumerate(self.thinking)
        ]
        if chat:
            last = body["messages"][-1]
            beginning = last["content"] if last["role"] == "assistant" else ""
            off = (body.get("chat_template_kwargs") or {}).get(
                "enable_thinking"
            ) is False
            closed, opened = (
                off
                or (
                    beginning
                    and ("</think>" in beginning or "<think>" not in beginning)
                ),
                "<think>" in beginning,
            )
        else:
            ids = (
                body["prompt"]
                if isinstance(body["prompt"], list)
                else spell(body["prompt"])
            )
            marks = [token for token in ids if token in (THINK, CLOSE)]
            closed, opened = marks[-1:] == [CLOSE], marks[-1:] == [THINK]
        if self.thinking and not closed:
            thoughts = [
                *([] if opened or self.opens else [(THINK, "<think>", True)]),
                *thoughts,
                (CLOSE, "</think>", True),
            ]
        else:
            thoughts = []
        replies = [(_PIECE + at, piece, False) for at, piece in enumerate(self.reply)]
        ends = (
            [(EOS, "", False)]
            if self.finish == "stop" and self.stop_reason is None
            else []
        )
        return [*thoughts, *replies, *ends]

    def _delta(self, piece: str, *, thought: bool) -> dict[str, Any]:
        """A token of a chat."""
        if self.thinks_in == "text" or (not thought and self.thinks_in != "list"):
            return {"content": piece}
        piece = "" if piece in MARKERS else piece
        if not thought:
            return {"content": [{"type": "text", "text": piece}]}
        if self.thinks_in == "list":
            return {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": piece}]}
                ]
            }
        return dict.fromkeys(
            ("reasoning", "reasoning_content")
            if self.thinks_in == "both"
            else (self.thinks_in,),
            piece,
        )

    def events(self, body: dict[str, Any], *, chat: bool) -> Iterator[dict[str, Any]]:
        """The events of one reply, as the kind of server that this is would send them."""
        drawn = self._drawn(body, chat=chat)
        maximum = int(body.get("max_completion_tokens") or body["max_tokens"])
        finish = self.finish if len(drawn) <= maximum else "length"
        drawn, prompt = drawn[:maximum], self._prompt_tokens(body)
        if chat:
            yield {
                "choices": [
                    {
                        "index": 0,
                        "delta": {"role": "assistant", "content": ""},
                        "finish_reason": None,
                    }
                ]
            }
        for place, (number, piece, thought) in enumerate(drawn):
            last = place == len(drawn) - 1
            choice: dict[str, Any] = {
                "index": 0,
                "finish_reason": finish if last else None,
            }
            choice |= (
                {"delta": self._delta(piece, thought=thought)}
                if chat
                else {"text": piece}
            )
            if body.get("logprobs") is not None:
                choice["logprobs"] = self._logprobs(body, number, place, chat=chat)
            if self.vllm:
                choice["stop_reason"] = self.stop_reason if last else None
            if self.vllm and self.returns_ids and body.get("return_token_ids"):
                choice["token_ids"] = [number]
            event: dict[str, Any] = {"choices": [choice]}
            if self.vllm and body.get("stream_options", {}).get(
                "continuous_usage_stats"
            ):
                event["usage"] = {
                    "prompt_tokens": prompt,
                    "completion_tokens": place + 1,
                }
            yield event
        if self.reports_usage and body.get("stream_options", {}).get("include_usage"):
            usage: dict[str, Any] = {
                "prompt_tokens": prompt,
                "completion_tokens": len(drawn),
            }
            usage["prompt_tokens_details"] = {"cached_tokens": self.cached}
            if self.reports_thinking:
                usage["completion_tokens_details"] = {
                    "reasoning_tokens": sum(thought for *_, thought in drawn)
                }
            yield {"choices": [], "usage": usage}

    def whole(self, body: dict[str, Any], *, chat: bool) -> dict[str, Any]:
        """The same reply at once."""
        events = list(
            self.events({**body, "stream_options": {"include_usage": True}}, chat=chat)
        )
        usage = events.pop()["usage"] if self.reports_usage else None
        pieces = [event["choices"][0] for event in events]
        choice: dict[str, Any] = {"finish_reason": pieces[-1]["finish_reason"]}
        if chat:
            message: dict[str, Any] = {"role": "assistant"}
            for delta in (p["delta"] for p in pieces):
                for key, value in delta.items():
                    if key != "role":
                        message[key] = (message.get(key) or type(value)()) + value
            choice["message"] = message
        else:
            choice["text"] = "".join(p["text"] for p in pieces)
        if self.vllm:
            choice["stop_reason"] = self.stop_reason
        if any("token_ids" in p for p in pieces):
            choice["token_ids"] = [number for p in pieces for number in p["token_ids"]]
        if sent := [p["logprobs"] for p in pieces if "logprobs" in p]:
            choice["logprobs"] = {
                key: [one for each in sent for one in each[key]] for key in sent[0]
            }
        return {
            "choices": [{"index": 0, **choice}],
            **({"usage": usage} if usage else {}),
        }

    def _prompt_tokens(self, body: dict[str, Any]) -> int:
        if "messages" in body:
            return len(spell_chat(body["messages"]))
        return len(body["prompt"]) + isinstance(body["prompt"], str)

    def _logprobs(
        self, body: dict[str, Any], number: int, place: int, *, chat: bool
    ) -> dict[str, Any]:
        own = -0.5 * (place + 1)
        others = {f"token_id:{number}": own, "token_id:7": -3.0, "token_id:8": -0.25}
        if chat:
            top = [
                {"token": token, "logprob": value} for token, value in others.items()
            ][: body.get("top_logprobs")]
            return {"content": [{"token": "x", "logprob": own, "top_logprobs": top}]}
        return {"tokens": ["x"], "token_logprobs": [own], "top_logprobs": [others]}


class _Server(ThreadingHTTPServer):
    state: FakeServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report what goes wrong here, and not that a client left, which is what tests are about."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def state(self) -> FakeServer:
        assert isinstance(self.server, _Server)
        return self.server.state

    def setup(self) -> None:
        super().setup()
        self.state.count(1)

    def finish(self) -> None:
        super().finish()
        self.state.count(-1)

    def log_message(self, *_: object) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        self._note({})
        state = self.state
        if state.dead:
            self.close_connection = True
            return
        if state.start_fault:
            self._fail(state.start_fault)
        elif self.path == "/v1/models":
            extra = (
                {"max_model_len": state.context, "root": state.root}
                if state.vllm
                else {}
            )
            self._json(
                {
                    "object": "list",
                    "data": [
                        {"id": m, "owned_by": state.owner, **extra}
                        for m in state.models
                    ],
                }
            )
        elif self.path == "/health" and state.vllm:
            self._json({})
        else:
            self._json({"detail": "Not Found"}, 404)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])) or b"{}")
        self._note(body)
        state = self.state
        if self.path == "/tokenize" and state.vllm and state.tokenizes:
            self._at_once(
                json.dumps(state.tokens(body)),
                state.tokenize_faults.pop(0) if state.tokenize_faults else None,
            )
        elif self.path == "/reset_prefix_cache" and state.resets:
            self._whole(
                200,
                state.resets.pop(0) if len(state.resets) > 1 else state.resets[0],
                (),
            )
        elif self.path in ("/v1/completions", "/v1/chat/completions"):
            state.at.pop(next(state._numbers), lambda: None)()
            if state.dead:
                self.close_connection = True
                return
            fault = state.faults.pop(0) if state.faults else None
            if fault and fault.kind in ("status", "close", "silent"):
                self._fail(fault)
            elif body.get("stream"):
                self._stream(list(state.events(body, chat="chat" in self.path)), fault)
            else:
                self._at_once(
                    json.dumps(state.whole(body, chat="chat" in self.path)), fault
                )
        else:
            self._json({"detail": "Not Found"}, 404)

    def _note(self, body: dict[str, Any]) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.state.seen.append(Seen(self.path, body, headers, self.client_address[1]))

    def _json(self, content: object, status: int = 200) -> None:
        self._whole(status, json.dumps(content), ())

    def _whole(
        self, status: int, body: str, headers: tuple[tuple[str, str], ...]
    ) -> None:
        payload = body.encode()
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(payload)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)

    def _fail(self, fault: Fault) -> None:
        if fault.kind == "status":
            self._whole(fault.status, fault.body, fault.headers)
        elif fault.kind == "silent":
            self._wait_for_client_to_leave()
        else:
            self.close_connection = True

    def _at_once(self, reply: str, fault: Fault | None) -> None:
        """A reply that is not streamed: cut in its midst, silent after its headers, or another one, as the fault says.

        A fault that comes after this many events leaves a whole reply alone.
        """
        if fault is None or fault.kind == "send":
            self._whole(200, fault.body if fault and not fault.after else reply, ())
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply[: len(reply) // 2].encode())
        if fault.kind == "stall":
            self._wait_for_client_to_leave()
        self.close_connection = True

    def _stream(self, events: list[dict[str, Any]], fault: Fault | None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        lines = [
            f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()
            for event in events
        ]
        if fault:
            lines = lines[: fault.after]
        for line in lines:
            self._chunk(line)
        if fault is None:
            self._chunk(b"data: [DONE]\n\n")
            self.wfile.write(b"0\r\n\r\n")
        elif fault.kind == "send":
            self._chunk(fault.body.encode("utf-8", "surrogateescape"))
            self.wfile.write(b"0\r\n\r\n")
        elif fault.kind == "stall":
            self._wait_for_client_to_leave()
        else:
            self.close_connection = True

    def _chunk(self, data: bytes) -> None:
        size = self.state.bytes_per_write
        for start in range(0, len(data), size):
            part = data[start : start + size]
            self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")

    def _wait_for_client_to_leave(self) -> None:
        self.close_connection = True
        self.state.stalled.set()
        with suppress(ConnectionError):
            assert self.connection.recv(1) == b""
        self.state.disconnected.set()


def text_only(**options: Any) -> FakeServer:
    """A server that is not vLLM's: it takes text and reports no window."""
    return FakeServer(vllm=False, owner="someone", context=None, **options)
