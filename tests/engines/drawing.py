"""Sequences drawn from a fake server whose model thinks."""

import asyncio
from typing import Any

from reasoner.engine import SampleRequest
from reasoner.engines.openai import OpenAIEngine
from reasoner.types import Completion, Prompt, SamplingParams
from tests.engines.fake_server import FakeServer
from tests.engines.fake_tokenizer import spell_chat

ASKED = Prompt.chat("2+2?")
HEAD = spell_chat([{"role": "user", "content": "2+2?"}])
ALWAYS = "/models/DeepSeek-R1-Distill-Qwen-7B"
THOUGHTS = ("Is", " it", " 12", "?")


def thinker(**options: Any) -> FakeServer:
    known: dict[str, Any] = {"root": ALWAYS, "opens": True, "thinking": THOUGHTS}
    return FakeServer(**known | options)


async def draw(
    engine: OpenAIEngine, prompt: Prompt = ASKED, *, interruptible: bool = True, **params: Any
) -> Completion:
    await engine.start()
    drawing = SamplingParams(**{"max_tokens": 32, **params})
    request = SampleRequest("q", prompt, await engine.render(prompt), drawing, 0, 1, interruptible=interruptible)
    return await engine.sample(request)


def drawn(server: FakeServer, prompt: Prompt = ASKED, *, interruptible: bool = True, **params: Any) -> Completion:
    return asyncio.run(draw(OpenAIEngine(base_url=server.url), prompt, interruptible=interruptible, **params))
