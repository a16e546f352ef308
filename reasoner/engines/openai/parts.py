"""The two parts of a reply, thinking and final, by the markers in its text."""

from typing import Final

from reasoner.engines import ReplyParts
from reasoner.models.families import FAMILIES
from reasoner.models.parting import PartSplitter
from reasoner.models.thinking import ThinkingProfile
from reasoner.types import NO_THINKING, Prompt

GENERIC: Final = ThinkingProfile(
    "on_request", (), (), "<think>", "</think>", "\n</think>\n\n", "<think>\n\n</think>\n\n"
)
"""The markers of most models that think, for a model of unknown name."""
_SHOWN: Final = tuple(family.profile for family in FAMILIES if family.profile.start_text)


def closed(prompt: Prompt, profile: ThinkingProfile | None) -> bool:
    """Whether a prompt has ended thinking, or skipped it, so that a final part follows."""
    end = profile.end_text if profile else ""
    return bool(prompt.text) or prompt.thinking_level == NO_THINKING or bool(end and end in prompt.thinking)


def may_think(beginning: str) -> bool:
    """Whether a reply of a model of unknown name may begin with thinking, by what it begins with."""
    starts = (row.start_text.strip() for row in _SHOWN)
    return beginning[:1] == "<" or any(start.startswith(beginning) or beginning.startswith(start) for start in starts)


def by_text(text: str, profile: ThinkingProfile | None, *, opened: bool, cut: bool) -> ReplyParts:
    """The parts of a text with markers; `cut` says that a limit ended it.

    `opened` says whether it continues thinking. A closing marker alone ends thinking that the prompt opened. A text
    without a marker is final, unless it was cut and the model always thinks. Without a profile, an opening marker
    counts only at the beginning of the text, and that of any family does.
    """
    known, beginning = profile is not None, text.lstrip()
    if profile is None:
        profile = next((row for row in _SHOWN if beginning.startswith(row.start_text.strip())), GENERIC)
        if GENERIC.end_text not in text and not beginning.startswith(profile.start_text.strip()) and not opened:
            return ReplyParts("", text)
    if not profile.end_text:
        return ReplyParts("", text)
    reading = PartSplitter(profile, opened=opened)
    pieces = reading.add(text, last=True)
    unclosed = reading.thinking or (cut and not reading.closed and known and profile.when == "always")
    thought = unclosed or reading.end > 0
    texts = {True: "", False: ""}
    for piece, thinking in pieces:
        texts[thought if thinking is None else thinking] += piece
    return ReplyParts(texts[True], texts[False], unclosed)
