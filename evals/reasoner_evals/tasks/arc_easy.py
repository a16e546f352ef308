"""ARC-Easy: the questions that simple methods answer."""

from dataclasses import dataclass
from typing import ClassVar

from reasoner_evals.tasks.arc import Arc, published
from reasoner_evals.tasks.source import Published


@dataclass(frozen=True, slots=True)
class ArcEasy(Arc):
    """ARC-Easy: 2,376 science questions of 3 to 5 options. Pinned; `shots` are self-written."""

    name: ClassVar[str] = "arc_easy"
    published: ClassVar[Published] = published("ARC-Easy", "3f32a84716ca")
