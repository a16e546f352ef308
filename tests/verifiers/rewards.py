"""A reward model that is a function of characters, and a policy that shares its tokenizer: one token a character."""

import asyncio
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from reasoner.engine import Engine, UsageMeter
from reasoner.engines.vllm.pooling import PooledOutputs, PoolingEngine
from reasoner.errors import EngineError
from reasoner.models.info import ModelInfo
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import PROMPT, says
from reasoner.types import Completion, FinishReason, Prompt, TokenIds, Usage

BLOCK = 4
SPECIAL = {"<extra_0>": 151651, "<end>": 900}


def spell(text: str) -> TokenIds:
    """One id a character, but one for each special token."""
    for word, token in SPECIAL.items():
        text = text.replace(word, chr(token))
    return tuple(map(ord, text))


def read(ids: TokenIds) -> str:
    text = "".join(map(chr, ids))
    for word, token in SPECIAL.items():
        text = text.replace(chr(token), word)
    return text


def scalar(prefix: TokenIds) -> float:
    """What the model says at the end of a prefix: a function of all of it."""
    return hashlib.sha256(repr(prefix).encode()).digest()[0] / 32 - 4


class Letters(ScriptedEngine):
    """A scripted policy, one token a character."""

    def __init__(self) -> None:
        super().__init__(says("7"))

    def _encode(self, text: str) -> TokenIds:
        return spell(text)


@dataclass(slots=True)
class LetterModel(PoolingEngine):
    """A reward model with a prefix cache of whole blocks, of which it tells nothing, as vLLM does."""

    labels: int = 1
    window: int = 0
    calls: list[Usage] = field(default_factory=list)
    gate: asyncio.Event | None = None
    failing: bool = False
    _seen: set[TokenIds] = field(default_factory=set)

    @property
    def model(self) -> ModelInfo:
        return ModelInfo(
            self.model_id,
            self.window,
            parameters=10,
            layers=1,
            heads=1,
            kv_heads=1,
            head_dim=1,
        )

    async def start(self, policy: Engine | None = None) -> None:
        self._capacity = 10

    async def render(self, prompt: Prompt, *, reply: bool = False) -> TokenIds:
        chat = "".join(f"[{turn.role}]{turn.content}<end>" for turn in prompt.messages)
        return spell(prompt.raw or chat + ("[assistant]" if reply else ""))

    async def encode(self, text: str) -> TokenIds:
        return spell(text)

    def decode(self, ids: TokenIds) -> str:
        return read(ids)

    async def rows(
        self, ids: TokenIds, *, read_cache: bool, meter: UsageMeter
    ) -> PooledOutputs:
        meter.usage = None
        ends = range(BLOCK, len(ids), BLOCK)
        first = max(
            (end for end in ends if read_cache and ids[:end] in self._seen), default=0
        )
        self._seen.update(ids[:end] for end in ends)
        if self.gate is not None:
            await self.gate.wait()
        meter.usage = usage = Usage(len(ids), first, 0)
        self.calls.append(usage)
        if self.failing:
            raise EngineError("the model fell over")
        rows = [
            [scalar(ids[: at + 1])] * (self.labels - 1) + [scalar(ids[: at + 1])]
            for at in range(first, len(ids))
        ]
        return PooledOutputs(first, np.array(rows, dtype=np.float32), usage)

    async def close(self) -> None:
        self.failing = True


def model_folder(folder: Path, **config: Any) -> str:
    """A folder that says what model it is."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return str(folder)


def written(
    text: str, *, prompt: Prompt = PROMPT, index: int = 0, finish: FinishReason = "stop"
) -> Completion:
    """A candidate that the letter policy wrote, its end-of-sequence token included where it ended."""
    ids = spell(text) + ((SPECIAL["<end>"],) if finish == "stop" else ())
    return Completion(prompt, text, ids, finish, index=index)
