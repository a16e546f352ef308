"""A scripted model that also answers what is asked about answers: whether two are the same, which one a reply gives."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reasoner import Question, Solution, solve
from reasoner.engine import SampleRequest
from reasoner.engines.replay import ReplayEngine
from reasoner.strategy import BRANCH, Strategy
from reasoner.trace.events import Event
from tests.helpers import Judge, Pause, meter_of, write_trace
from tests.scripted import ScriptedEngine

_SHOWN = re.compile(r'^Answer [12]: "(.*)"$', re.MULTILINE)
_REPLY = re.compile(r"^> (.*)$", re.MULTILINE)
Same = Callable[[str, str], bool | None]


def alike(first: str, second: str) -> bool:
    """The law of the tests: two answers are the same if their last words begin alike."""
    return first.rsplit(maxsplit=1)[-1][:1] == second.rsplit(maxsplit=1)[-1][:1]


@dataclass
class AskedModel:
    """The script of an engine: replies by `says`, verdicts by `same`, extracted answers by `extract`."""

    says: Callable[[SampleRequest], str]
    same: Same = alike
    extract: Callable[[str], str] = lambda reply: reply.split()[-1]
    compared: list[tuple[str, str]] = field(default_factory=list)
    extracted: list[str] = field(default_factory=list)

    def __call__(self, request: SampleRequest) -> str:
        text = request.prompt.messages[-1].content
        if shown := _SHOWN.findall(text):
            first, second = shown
            self.compared.append((first, second))
            return {True: "Yes", False: "No", None: "Maybe"}[self.same(first, second)]
        if "Which final answer does the reply give?" in text:
            reply = "\n".join(_REPLY.findall(text))
            self.extracted.append(reply)
            return self.extract(reply)
        return self.says(request)

    def engine(self, pause: Pause | None = None) -> ScriptedEngine:
        return ScriptedEngine(self, pause=pause) if pause else ScriptedEngine(self)

    @property
    def pairs(self) -> Counter[frozenset[str]]:
        return Counter(map(frozenset, self.compared))


def replies(*texts: str) -> Callable[[SampleRequest], str]:
    """These texts in launch order, over and over."""
    return lambda request: texts[request.index % BRANCH % len(texts)]


def computed(*engines: ScriptedEngine) -> int:
    """All tokens that the engines computed."""
    return sum(prompt + generated for prompt, _, generated in map(meter_of, engines))


async def answered(
    question: Question, strategy: Strategy, engine: ScriptedEngine, events: list[Event], **options: Any
) -> Solution:
    judge = Judge(bound_tokens=10) if strategy.uses_verifier else None
    return await solve(question, strategy, engine, verifier=judge, trace=events.append, **options)


async def replayed(question: Question, strategy: Strategy, path: Path, events: Iterable[Event]) -> Solution:
    engine = ReplayEngine(str(write_trace(path, events)))
    await engine.start()
    judge = engine.verifier() if strategy.uses_verifier else None
    return await solve(question, strategy, engine, verifier=judge)
