"""AIME 2025: integers from 0 to 999."""

from dataclasses import dataclass
from typing import ClassVar

from reasoner_evals.tasks.contest import Contest
from reasoner_evals.tasks.source import Published


@dataclass(frozen=True, slots=True)
class Aime25(Contest):
    """AIME 2025: 30 problems with an integer from 0 to 999 as their answer. Pinned."""

    revision: str = "563bb8404243c5f09de6ec262f2db674fe5bce9b"

    name: ClassVar[str] = "aime25"
    published: ClassVar[Published] = Published(
        "math-ai/aime25",
        "test",
        "problems (c) MAA",
        file="nemo_skills/dataset/aime25/test.txt of github.com/NVIDIA/NeMo-Skills",
        digest="b672f9c6660b",
    )
