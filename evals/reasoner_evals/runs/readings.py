"""How the replies of a run were read: by which rules, and which replies by none."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from reasoner.trace.events import AnswerExtracted, Sampled, read_trace
from reasoner_evals.runs.folder import RunFolder
from reasoner_evals.runs.manifest import read_manifest

MAX_UNREAD = 1_000
"""Unread replies that are kept."""
MAX_ENDING = 2_000
"""Characters at the end of an unread reply that are kept."""


class Unread(NamedTuple):
    """A complete reply without an answer."""

    task: str
    arm: str
    question_id: str
    sample: int
    ending: str
    """The last characters of the reply, which a model wrote."""


@dataclass(slots=True)
class Readings:
    """The complete replies of a run by reading rule; the rule of unread ones is empty."""

    rules: Counter[str] = field(default_factory=Counter)
    unread: list[Unread] = field(default_factory=list)
    """The first of them, in the order of the arms and their traces."""
    truncated: int = 0
    """Replies that a limit cut and that have no answer."""

    def probed(self, arm: str, event: AnswerExtracted, rule: str, cut: set[tuple[str, str, int]]) -> None:
        """Count a reply as read by its probe, and no longer as unread or `cut`."""
        if (event.question_id, event.prompt, event.index) in cut:
            self.truncated -= 1
        else:
            self.rules[""] -= 1
        self.rules[rule] += 1
        name = (arm, event.question_id, event.index)
        self.unread = [each for each in self.unread if (each.arm, each.question_id, each.sample) != name]


def readings_of(folder: RunFolder) -> Readings:
    """How all replies of a run were read when it was made. A TraceError names the file that cannot be read."""
    readings = Readings()
    for arm in read_manifest(folder).arms:
        trace = folder.arm(arm.name).trace
        if not trace.exists():
            continue
        cut: set[tuple[str, str, int]] = set()
        for event in read_trace(trace):
            if isinstance(event, AnswerExtracted) and event.answer:
                readings.probed(arm.name, event, event.answer.rule, cut)
            if not isinstance(event, Sampled) or event.stop is not None:
                continue
            if event.truncated:
                readings.truncated += 1
                cut.add((event.question_id, event.prompt, event.index))
                continue
            readings.rules[event.answer.rule if event.answer else ""] += 1
            if event.answer is None and len(readings.unread) < MAX_UNREAD:
                ending = event.text[-MAX_ENDING:]
                readings.unread.append(Unread(arm.task, arm.name, event.question_id, event.index, ending))
    return readings
