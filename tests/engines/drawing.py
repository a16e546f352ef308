"""Sequences drawn from a fake server."""

import asyncio
from collections.abc import Callable
from typing import Any

from reasoner.engine import SampleRequest, TextPiece
from reasoner.engines.openai import OpenAIEngine
from reasoner.types import Completion, Prompt, SamplingParams
from tests.engines.fake_server import FakeServer
from tests.engines.fake_tokenizer import spell_chat

ASKED = Prompt.chat("2+2?")
HEAD = spell_chat([{"role": "user", "content": "2+2?"}])
ALWAYS = "/models/DeepSeek-R1-Distill-Qwen-7B"
THOUGHTS = ("Is", " it", " 12", "?")


def thinker(**options: Any) -> FakeServer:
    defaults: dict[str, Any] = {"root": ALWAYS, "opens": True, "thinking": THOUGHTS}
    return FakeServer(**defaults | options)


async def draw(
    engine: OpenAIEngine,
    prompt: Prompt = ASKED,
    *,
    interruptible: bool = True,
    on_text: Callable[[TextPiece], None] | None = None,
    **params: Any,
) -> Completion:
    await engine.start()
    sampling = SamplingParams(**{"max_tokens": 32, **params})
    rendered = await engine.render(prompt)
    request = SampleRequest(
        "q",
        prompt,
        rendered,
        sampling,
        3,
        41,
        interruptible=interruptible,
        on_text=on_text,
    )
    return await engine.sample(request)


def drawn(server: FakeServer, prompt: Prompt = ASKED, **params: Any) -> Completion:
    return asyncio.run(draw(OpenAIEngine(base_url=server.url), prompt, **params))
