"""Stop strings that hold only after thinking, which no server knows: they are looked for in the stream."""

from dataclasses import dataclass, field

from reasoner.engine import SampleRequest
from reasoner.engines.openai.parts import closed
from reasoner.models.parting import PartSplitter, first_stop
from reasoner.models.thinking import ThinkingProfile


def holds_back(request: SampleRequest, profile: ThinkingProfile | None) -> bool:
    """Whether the stop strings of a request are not sent: they must not end thinking, and thinking may come."""
    if profile is None or not profile.end_text or not request.params.stop or request.params.stop_in_thinking:
        return False
    return not closed(request.prompt, profile)


@dataclass(slots=True, eq=False)
class StopWatch:
    """Finds the first stop string in the final part of a reply that arrives in pieces.

    `thinking` says whether the reply begins in its thinking; None where that is not known.
    """

    stops: tuple[str, ...]
    profile: ThinkingProfile
    thinking: bool | None
    _held: str = field(default="", init=False)
    """The end of what arrived, where a stop string may start."""
    _reading: PartSplitter = field(init=False)

    def __post_init__(self) -> None:
        opened = self.profile.when == "always" if self.thinking is None else self.thinking
        self._reading = PartSplitter(self.profile, opened=opened)

    def feed(self, piece: str) -> str:
        """Add a piece in which markers may be; the stop string that ends the reply, or ""."""
        text = "".join(text for text, thinking in self._reading.add(piece) if not thinking)
        return self.final(text) if text else ""

    def final(self, piece: str) -> str:
        """Add a piece of the final part; the stop string that ends the reply, or ""."""
        text = self._held + piece
        longest = max(map(len, self.stops))
        self._held = text[1 - longest :] if longest > 1 else ""
        return first_stop(text, self.stops)
