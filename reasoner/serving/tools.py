"""The tool `solve` for clients of the Model Context Protocol, over standard streams and over HTTP.

The protocol is the official SDK's work; a call of the tool is answered as a chat request is, within the same limits.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, TextIO, cast

import anyio
from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from pydantic import Field
from starlette.types import Scope, Send

from reasoner.errors import ReasonerError, UsageError
from reasoner.serving.chat import ChatReply
from reasoner.serving.choose import choose
from reasoner.serving.errors import ApiError, api_error
from reasoner.serving.requests import StrictPart, read
from reasoner.serving.service import ANYONE, Service
from reasoner.serving.stream import encoded

CLIENT: Final = "reasoner_client"
"""The key of a request's scope that holds who asks."""
VOTE: Final = "vote8"
NAME: Final = "solve"


class Call(StrictPart):
    """The arguments of the tool."""

    question: str = Field(description="The whole question; nothing else is seen.")
    strategy: str = Field(
        default=VOTE,
        description="An alias of the server, such as vote8, or a strategy such as self_consistency:n=16.",
    )
    budget: str | None = Field(
        default=None,
        description="The most that it may cost, such as tokens=4000,seconds=30.",
    )
    answer: str | None = Field(
        default=None,
        description="The kind of answer: number, math, text, code or free.",
    )


TOOL: Final = types.Tool(
    name=NAME,
    title="Solve a question with more compute",
    description="Answers a question of mathematics, logic, knowledge or code with a language model, as a vote of many "
    "samples or by another strategy, within a budget. Gives the answer, the share of samples that agree, and the cost.",
    input_schema=Call.model_json_schema(),
)


class ToolServer:
    """The tools of a service; over HTTP it answers while it `run`s."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._server: Server[Any] = Server(
            "reasoner", on_list_tools=self._list, on_call_tool=self._call
        )
        self._http = StreamableHTTPSessionManager(
            self._server, json_response=True, stateless=True
        )
        self.ready = anyio.Event()

    async def run(self) -> None:
        """Answer over HTTP, from when `ready` is set, until it is cancelled."""
        async with self._http.run():
            self.ready.set()
            await anyio.sleep_forever()

    async def respond(self, scope: Scope, client: str, body: bytes, send: Send) -> None:
        """Answer one request over HTTP: its body was read, and its client is known."""
        ended = False

        async def receive() -> dict[str, Any]:
            nonlocal ended
            if ended:
                await anyio.sleep_forever()
            ended = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._http.handle_request({**scope, CLIENT: client}, receive, send)

    async def over_streams(self, source: TextIO, give: Callable[[str], None]) -> None:
        """Answer messages that come as lines, until they end; `give` writes one line.

        Raises:
            UsageError: a line is too long.
            ReasonerError: raised by `give`.
        """
        stdin = cast(
            "anyio.AsyncFile[str]", _lines(source, self._service.limits.body_bytes)
        )
        stdout = cast("anyio.AsyncFile[str]", _Sink(give))
        try:
            async with stdio_server(stdin, stdout) as (incoming, outgoing):
                await self._server.run(
                    incoming, outgoing, self._server.create_initialization_options()
                )
        except BaseExceptionGroup as group:
            if wrong := group.subgroup(ReasonerError):
                raise wrong.exceptions[0] from None
            raise

    async def _list(self, _context: object, _params: object) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[TOOL])

    async def _call(
        self, context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        """The result of a call; what is wrong with it is a result too, so that the model that called can mend it."""
        request = context.request
        client = ANYONE if request is None else request.scope[CLIENT]
        try:
            if params.name != NAME:
                raise ApiError(404, f"no tool {params.name[:100]!r}: there is {NAME}")
            solved = await self._solve(params.arguments or {}, client)
        except Exception as failure:
            error = api_error(failure, self._service.report)
            return types.CallToolResult(
                content=[types.TextContent(text=error.message)], is_error=True
            )
        return types.CallToolResult(
            content=[types.TextContent(text=solved["text"])], structured_content=solved
        )

    async def _solve(self, arguments: dict[str, Any], client: str) -> dict[str, Any]:
        """The text of the reply, beside how it was reached."""
        offer = self._service.offer
        call = read(encoded(arguments), Call)
        chosen = call.model_dump(include={"budget", "answer"}, exclude_none=True)
        model = offer.model.name
        if call.strategy in offer.aliases:
            model = f"{model}@{call.strategy}"
        else:
            chosen["strategy"] = call.strategy
        body = encoded(
            {
                "model": model,
                "messages": [{"role": "user", "content": call.question}],
                "reasoner": chosen,
            }
        )
        made = ChatReply(read(body, ChatReply.reads), offer.prices)
        whole = made.whole(
            await self._service.answer(choose(made.asked, offer), client)
        )
        return {
            "text": whole["choices"][0]["message"]["content"] or "",
            **whole["reasoner"],
        }


class _Sink:
    """Where the SDK writes its lines: each in a thread, as a slow reader must not stop the server."""

    def __init__(self, give: Callable[[str], None]) -> None:
        self._give = give

    async def write(self, line: str) -> None:
        await anyio.to_thread.run_sync(self._give, line.removesuffix("\n"))

    async def flush(self) -> None:
        """Nothing: each line is written at once."""


async def _lines(source: TextIO, limit: int) -> AsyncIterator[str]:
    """The lines of a pipe, read without a thread: one that waits in a read would outlive Ctrl-C."""
    reader, loop = asyncio.StreamReader(limit), asyncio.get_running_loop()
    try:
        try:
            loop.add_reader(source, lambda: None)
        except PermissionError:
            # A file, which cannot be waited for and makes nobody wait.
            while line := source.buffer.readline(limit):
                yield line.decode("utf-8", "replace")
            return
        loop.remove_reader(source)
        await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), source
        )
        while line := await reader.readline():
            yield line.decode("utf-8", "replace")
    except ValueError as error:
        raise UsageError(
            f"a line of standard input may have at most {limit:,} bytes: {error}"
        ) from None
