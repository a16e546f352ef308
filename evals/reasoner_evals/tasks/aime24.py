"""AIME 2024: integers from 0 to 999; leading zeros are possible."""

from dataclasses import dataclass
from typing import ClassVar

from reasoner_evals.tasks.contest import Contest
from reasoner_evals.tasks.source import Published


@dataclass(frozen=True, slots=True)
class Aime24(Contest):
    """AIME 2024: 30 problems with an integer from 0 to 999 as their answer. Pinned."""

    revision: str = "2fe88a2f1091d5048c0f36abc874fb997b3dd99a"

    name: ClassVar[str] = "aime24"
    published: ClassVar[Published] = Published(
        "HuggingFaceH4/aime_2024",
        "train",
        "problems (c) MAA",
        file="nemo_skills/dataset/aime24/test.txt of github.com/NVIDIA/NeMo-Skills",
        digest="e428f83ec735",
    )
