"""Stop strings that hold only after thinking, which no server knows: they are looked for in the stream."""

from dataclasses import dataclass, field

from reasoner.engine import SampleRequest
from reasoner.engines.openai.parts import closed
from reasoner.models.thinking import ThinkingProfile


def holds_back(request: SampleRequest, profile: ThinkingProfile | None) -> bool:
    """Whether the stop strings of a request are not sent: they must not end thinking, and thinking may come."""
    if profile is None or not profile.end_text or not request.params.stop or request.params.stop_in_thinking:
        return False
    return not closed(request.prompt, profile)


def first_stop(text: str, stops: tuple[str, ...]) -> str:
    """The stop string that comes first in a text, or ""."""
    starts = [(start, stop) for stop in stops if (start := text.find(stop)) >= 0]
    return min(starts)[1] if starts else ""


@dataclass(slots=True, eq=False)
class StopWatch:
    """Finds the first stop string in the final part of a reply that arrives in pieces.

    `thinking` says whether the reply is in its thinking; None at a beginning that has not shown it yet.
    """

    stops: tuple[str, ...]
    profile: ThinkingProfile
    thinking: bool | None
    _held: str = field(default="", init=False)
    """The end of what arrived, where a marker or a stop string may start."""

    def feed(self, piece: str) -> str:
        """Add a piece in which markers may be; the stop string that ends the reply, or ""."""
        start, end = self.profile.start_text.strip(), self.profile.end_text
        if self.thinking is None:
            self._held += piece
            shown = self._held.lstrip()
            if start.startswith(shown):
                return ""
            self.thinking = shown.startswith(start) or self.profile.when == "always"
            piece, self._held = self._held, ""
        if not self.thinking:
            return self.final(piece)
        before, marker, after = (self._held + piece).partition(end)
        if not marker:
            self._held = before[1 - len(end) :] if len(end) > 1 else ""
            return ""
        self.thinking, self._held = False, ""
        return self.final(after)

    def final(self, piece: str) -> str:
        """Add a piece of the final part; the stop string that ends the reply, or ""."""
        self.thinking = False
        text = self._held + piece
        longest = max(map(len, self.stops))
        self._held = text[1 - longest :] if longest > 1 else ""
        return first_stop(text, self.stops)
