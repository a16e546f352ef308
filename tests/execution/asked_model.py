"""A scripted model that also says how its own reply ends."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from reasoner import Question, Solution, solve
from reasoner.engine import Continuation, SampleRequest
from reasoner.engines.replay import ReplayEngine
from reasoner.models.info import ModelInfo
from reasoner.strategy import BRANCH, Strategy
from reasoner.testing.scripted import MODEL, ScriptedEngine
from reasoner.testing.support import Judge, Pause, meter_of, write_trace
from reasoner.trace.events import Event

_REPLY = re.compile(r"^> (.*)$", re.MULTILINE)
_OPENED = re.compile(
    r"\n\n(?:The final answer is(?: \\boxed\{)?|The answer is \(|Final answer \(yes or no\):|```json\n)\Z"
)


@dataclass
class AskedModel:
    """The script of an engine: replies by `says`, what probes say by `extract`.

    `probes` are the chains that were probed, and `continues` is how the engine continues a reply.
    """

    says: Callable[[SampleRequest], str]
    extract: Callable[[str], str] = lambda reply: reply.split()[-1]
    continues: Continuation | None = "exact"
    model: ModelInfo = MODEL
    probes: list[str] = field(default_factory=list)

    def __call__(self, request: SampleRequest) -> str:
        text = request.prompt.messages[-1].content
        if "Which final answer does the reply give?" in text:
            reply = "\n".join(_REPLY.findall(text))
            self.probes.append(reply)
            return self.extract(reply)
        if opened := _OPENED.search(request.prompt.text):
            reply = request.prompt.text[: opened.start()]
            self.probes.append(reply or request.prompt.thinking)
            said = self.extract(self.probes[-1])
            return said + "}" if opened[0].endswith("{") else said
        return self.says(request)

    def engine(self, pause: Pause | None = None) -> ScriptedEngine:
        engine = ScriptedEngine(self, model=self.model, continues=self.continues)
        return replace(engine, pause=pause) if pause else engine


def replies(*texts: str) -> Callable[[SampleRequest], str]:
    """These texts in launch order, over and over."""
    return lambda request: texts[request.index % BRANCH % len(texts)]


def computed(*engines: ScriptedEngine) -> int:
    """All tokens that the engines computed."""
    return sum(prompt + generated for prompt, _, generated in map(meter_of, engines))


async def answered(
    question: Question,
    strategy: Strategy,
    engine: ScriptedEngine,
    events: list[Event],
    **options: Any,
) -> Solution:
    judge = Judge(bound_tokens=10) if strategy.uses_verifier else None
    return await solve(
        question, strategy, engine, verifier=judge, trace=events.append, **options
    )


async def replayed(
    question: Question, strategy: Strategy, path: Path, events: Iterable[Event]
) -> Solution:
    engine = ReplayEngine(str(write_trace(path, events)))
    await engine.start()
    judge = engine.verifier() if strategy.uses_verifier else None
    return await solve(question, strategy, engine, verifier=judge)
