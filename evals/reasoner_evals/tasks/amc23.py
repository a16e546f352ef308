"""AMC 2023: answers are written as decimals such as `27.0`, and compared as numbers."""

from dataclasses import dataclass
from typing import ClassVar

from reasoner_evals.tasks.contest import Contest
from reasoner_evals.tasks.source import Published


@dataclass(frozen=True, slots=True)
class Amc23(Contest):
    """AMC 2023: 40 problems with a number as their answer. Pinned."""

    revision: str = "80815d37005feb82cd7f8fbc6901d5d3eff43057"

    name: ClassVar[str] = "amc23"
    published: ClassVar[Published] = Published(
        "math-ai/amc23",
        "test",
        "problems (c) MAA",
        file="evaluation/data/amc23/test.jsonl of github.com/QwenLM/Qwen2.5-Math",
        digest="43707e1ca784",
    )
