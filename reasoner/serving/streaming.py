"""Streamed replies: the chunks of a reply as plain data; the server makes bytes of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from reasoner.budget import Prices
from reasoner.serving.calls import call_objects
from reasoner.serving.choice import Job
from reasoner.serving.errors import valid_text
from reasoner.serving.replies import Result, Text, thinking_fields, trace_of, usage, vendor_object, vote_rows
from reasoner.solution import Solution
from reasoner.system.printing import printable
from reasoner.trace.events import Event, Proposed, Sampled, Scored, Work
from reasoner.types import VoteState

MAX_SHOWN: Final = 32
"""Characters of an answer in a line of progress."""
MAX_VOTES: Final = 8
"""Answers in a chunk of progress; the last chunk has all of them."""
LOST: Final = "lost: the sequence was drawn again after its text was streamed, so the text is not whole: ask again"
Kind = Literal["chat.completion.chunk", "text_completion"]


@dataclass(slots=True)
class Progress:
    """The state of one job in a line, from the events of its trace."""

    samples: int = 0
    rated: int = 0
    tokens: int = 0
    vote_state: VoteState = VoteState()
    _shown: str = ""

    def line(self, event: Event) -> str:
        """A line such as `8 samples, leading 15 (43 %)`; empty where the event changes nothing of it."""
        if isinstance(event, Work):
            self.tokens += event.cost.tokens
        match event:
            case Sampled():
                self.samples += 1
            case Scored() if event.value is not None:
                self.rated += 1
            case Proposed():
                self.vote_state = event.vote_state
            case _:
                return ""
        line = self._line()
        if line == self._shown:
            return ""
        self._shown = line
        return line

    @property
    def report(self) -> dict[str, Any]:
        """The vendor object as far as it is known: samples, the heaviest votes, the tokens computed."""
        votes = vote_rows(self.vote_state.votes[:MAX_VOTES])
        return {"samples": self.samples, "votes": votes, "cost": {"tokens": self.tokens}}

    def _line(self) -> str:
        parts = [f"{self.samples:,} sample{'s' if self.samples != 1 else ''}"]
        parts += [f"{self.rated:,} rated"] if self.rated else []
        if leader := self.vote_state.leader:
            parts.append(f"leading {printable(leader.text, limit=MAX_SHOWN)} ({100 * self.vote_state.share:.0f} %)")
        return valid_text(", ".join(parts))


@dataclass(slots=True)
class _Stream:
    """What the streams of all forms of reply have in common. `id` and `created` are the same in all chunks."""

    id: str
    created: int
    model: str
    include_usage: bool = False
    prices: Prices | None = None
    _progress: dict[int, Progress] = field(default_factory=dict, init=False)
    _sent: dict[tuple[int, str], str] = field(default_factory=dict, init=False)
    """What was streamed of each choice: its content and its thinking."""

    def _chunk(self, kind: Kind, choices: list[dict[str, Any]]) -> dict[str, Any]:
        chunk = {"id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices}
        # As in OpenAI's service: null in every chunk but the last.
        return {**chunk, "usage": None} if self.include_usage else chunk

    def _rest(self, index: int, part: str, text: str) -> str:
        """What of a text was not streamed yet; nothing if something else was."""
        sent = self._sent.get((index, part), "")
        return text[len(sent) :] if text.startswith(sent) else ""

    def _vendor(self, index: int, text: Text, job: Job, solution: Solution, trace: str | None) -> dict[str, Any]:
        """The vendor object, which says so where the engine lost a sequence whose text was streamed."""
        vendor = vendor_object(job, solution, prices=self.prices, trace=trace)
        if not text.content.startswith(self._sent.get((index, "content"), "")):
            vendor["notes"].append(LOST)
        return vendor

    def _line(self, event: Event, index: int) -> str:
        return self._progress.setdefault(index, Progress()).line(event)

    def _note_sent(self, index: int, part: str, text: str) -> None:
        self._sent[index, part] = self._sent.get((index, part), "") + text


@dataclass(slots=True)
class ChatStream(_Stream):
    """The chunks of a reply of /v1/chat/completions.

    Either `progress` is called with the events of each job, or `delta` with the text of a job that passes through, as
    it comes; at last `end` with all results. The first chunk of a choice names its role.
    """

    _begun: set[int] = field(default_factory=set, init=False)

    def begin(self, *, index: int = 0) -> dict[str, Any]:
        """A first chunk without text, for a server that wants to send something at once."""
        return self._delta(index, {"content": ""})

    def progress(self, event: Event, *, index: int = 0) -> dict[str, Any] | None:
        """A line about what happened, as thinking of the choice `index`; None if there is nothing new to say.

        Beside the choices it has the vendor object so far, for clients that draw the votes.
        """
        line = self._line(event, index)
        if not line:
            return None
        return {**self._delta(index, thinking_fields(f"{line}\n")), "reasoner": self._progress[index].report}

    def delta(self, text: str, *, index: int = 0, thinking: bool = False) -> dict[str, Any]:
        """The next text of a choice, or of its thinking."""
        self._note_sent(index, "thinking" if thinking else "content", text)
        text = valid_text(text)
        return self._delta(index, thinking_fields(text) if thinking else {"content": text})

    def end(self, results: Sequence[Result], *, traces: Sequence[str | None] = ()) -> list[dict[str, Any]]:
        """The last chunks: what was not streamed yet of each choice, how it ended, and the usage of all.

        Raises:
            ApiError: a question failed before it had any text.
        """
        chunks = []
        for index, (job, solution) in enumerate(results):
            text = Text.of(job, solution)
            # Thinking that follows lines of progress would read as if it were one of them.
            if index not in self._progress and (thought := self._rest(index, "thinking", text.thinking)):
                chunks.append(self._delta(index, thinking_fields(thought)))
            if content := self._rest(index, "content", text.content):
                chunks.append(self._delta(index, {"content": content}))
            if text.calls:
                calls = call_objects(text.calls, prefix=f"{self.id}_{index}")
                pieces = [{"index": number, **call} for number, call in enumerate(calls)]
                chunks.append(self._delta(index, {"tool_calls": pieces}))
            last = self._delta(index, {}, text.finish_reason)
            last["reasoner"] = self._vendor(index, text, job, solution, trace_of(traces, index))
            chunks.append(last)
        if self.include_usage:
            costs = [solution.cost for _, solution in results]
            chunks.append({**self._chunk("chat.completion.chunk", []), "usage": usage(costs)})
        return chunks

    def _delta(self, index: int, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        if index not in self._begun:
            self._begun.add(index)
            delta = {"role": "assistant", **delta}
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._chunk("chat.completion.chunk", [choice])


@dataclass(slots=True)
class CompletionStream(_Stream):
    """The chunks of a reply of /v1/completions, which has no field for progress; used as `ChatStream` is."""

    def delta(self, text: str, *, index: int = 0) -> dict[str, Any]:
        """The next text of a choice."""
        self._note_sent(index, "content", text)
        return self._text(index, valid_text(text), None)

    def end(self, results: Sequence[Result], *, traces: Sequence[str | None] = ()) -> list[dict[str, Any]]:
        """The last chunks. Raises as `ChatStream.end`."""
        chunks = []
        for index, (job, solution) in enumerate(results):
            text = Text.of(job, solution)
            last = self._text(index, self._rest(index, "content", text.content), text.finish_reason)
            last["reasoner"] = self._vendor(index, text, job, solution, trace_of(traces, index))
            chunks.append(last)
        if self.include_usage:
            costs = [solution.cost for _, solution in results]
            chunks.append({**self._chunk("text_completion", []), "usage": usage(costs)})
        return chunks

    def _text(self, index: int, text: str, finish_reason: str | None) -> dict[str, Any]:
        choice = {"index": index, "text": text, "logprobs": None, "finish_reason": finish_reason}
        return self._chunk("text_completion", [choice])
