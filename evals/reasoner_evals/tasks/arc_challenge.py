"""ARC-Challenge: the questions that retrieval and word statistics get wrong."""

from dataclasses import dataclass
from typing import ClassVar

from reasoner_evals.tasks.arc import Arc, published
from reasoner_evals.tasks.source import Published


@dataclass(frozen=True, slots=True)
class ArcChallenge(Arc):
    """ARC-Challenge: 1,172 science questions of 3 to 5 options. Pinned; `shots` are self-written."""

    name: ClassVar[str] = "arc_challenge"
    published: ClassVar[Published] = published("ARC-Challenge", "4a89ce368ae0")
