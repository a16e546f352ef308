"""How a model thinks, found from what its chat template renders, its tokenizer and its name."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

from reasoner.models.families import (
    FAMILIES,
    GUESSED,
    Arguments,
    profile_for_parser,
    profile_of,
)
from reasoner.models.thinking import PartSplitter, ThinkingProfile, find, split
from reasoner.types import NO_THINKING, Message, TokenIds

Rendering = str | TokenIds
"""A rendered chat: its text, or its token ids where the template writes these."""
Render = Callable[[Sequence[Message], Arguments], Rendering]
"""Renders a chat up to where the reply begins; may raise anything where the template refuses it."""

_QUESTION: Final = (Message("user", "What is 3 + 4?"),)
_LEVELS: Final = ("low", "medium", "high")
_EFFORTS: Final[Mapping[str, Arguments]] = {
    level: {"reasoning_effort": level} for level in _LEVELS
}


@dataclass(frozen=True, slots=True)
class ModelReader:
    """What is known of a model: its chat template and its tokenizer.

    `encode` gives the token ids of a marker, `added` are the texts of the tokens that were added to the vocabulary.
    """

    render: Render
    encode: Callable[[str], TokenIds]
    added: Collection[str]

    def try_render(
        self, arguments: Arguments, messages: Sequence[Message] = _QUESTION
    ) -> Rendering | None:
        """A rendered chat; None where the template refuses it."""
        try:
            return self.render(messages, arguments)
        except Exception:  # a template raises what it likes
            return None

    def has_marker(self, text: str) -> bool:
        """Whether a marker is an added token, or begins with one."""
        return any(text.startswith(token) for token in self.added if len(token) > 2)

    def opens(
        self,
        profile: ThinkingProfile,
        messages: Sequence[Message],
        arguments: Arguments,
    ) -> bool:
        """Whether the template opens thinking before the reply.

        Only what the template writes after the last turn is read: the end that a rendering has in common with the one
        of a chat with a longer last turn. So a user who writes a marker opens nothing. Raises what the template raises.
        """
        *head, last = messages
        longer = (*head, replace(last, content=last.content + "x"))
        end = common_end(
            self.render(messages, arguments), self.render(longer, arguments)
        )
        if not isinstance(end, str):
            return split(end, profile, opened=False).unclosed
        reading = PartSplitter(profile, opened=False)
        reading.add(end, last=True)
        return reading.thinking

    def marker(self, text: str) -> TokenIds:
        """The token ids of a marker; none where a tokenizer joins it with what is around it."""
        ids = self.encode(text)
        # What may come before and after a marker
        around = (
            self.encode(f"{before}{text}{after}")
            for before, after in (("a", "a"), (".", "\n"), (" ", "\n\n"), ("\n", " "))
        )
        return ids if all(find(whole, ids) >= 0 for whole in around) else ()


def common_end(first: Rendering, second: Rendering) -> Rendering:
    """The longest text, or the longest token ids, with which both end."""
    length, longest = 0, min(len(first), len(second))
    while length < longest and first[-1 - length] == second[-1 - length]:
        length += 1
    return first[len(first) - length :]


def find_profile(
    name: str,
    model_type: str,
    reader: ModelReader,
    *,
    given: ThinkingProfile | None = None,
) -> ThinkingProfile | None:
    """How a model thinks; None for one that does not, as far as can be seen.

    `name` is the model's name, `model_type` the type in its configuration. What tokenizer and template show goes first;
    a name is believed where they show nothing and it is of a family that always thinks. With `given`, the model is
    known to think with these markers, whatever its template shows.
    """
    if given:
        return _fitted(given, reader, certain=True)
    known = [*_candidates(name, model_type)]
    named = [base for base, certain in known if certain]
    shown = chain(
        (_fitted(base, reader) for base, _ in known),
        (_fitted(base, reader, plain=True) for base in named),
        (
            _fitted(base, reader, certain=True)
            for base in named
            if base.when == "always"
        ),
    )
    return next(filter(None, shown), None)


def _candidates(name: str, model_type: str) -> Iterator[tuple[ThinkingProfile, bool]]:
    """The profiles to try, and whether the model is known to think so, whatever its template shows."""
    if named := profile_of(name):
        yield named, named is not GUESSED.profile
    if typed := profile_of(model_type.replace("_", "-")):
        yield typed, typed.parser == "openai_gptoss"
    # Stands for models of no known family with the common markers
    common = profile_for_parser("deepseek_r1")
    seen: set[tuple[str, str]] = set()
    for base in [
        *([common] if common else []),
        *(family.profile for family in FAMILIES),
    ]:
        markers = base.start_text, base.end_text
        if (
            markers not in seen
            and all(markers)
            # A token in every chat of many models: a model with markers that begin with it is known by
            # name only
            and not base.start_text.startswith("<|im_start|>")
        ):
            seen.add(markers)
            yield base, False


def with_markers(
    name: str,
    model_type: str,
    reader: ModelReader,
    *,
    given: ThinkingProfile | None = None,
) -> ThinkingProfile | None:
    """The first profile with markers that the tokenizer has: `find_profile` without a look at the template."""
    candidates = [(given, True)] if given else _candidates(name, model_type)
    return next(
        (
            known
            for base, certain in candidates
            if (known := _with_ids(base, reader, certain=certain))
        ),
        None,
    )


def _with_ids(
    base: ThinkingProfile, reader: ModelReader, *, certain: bool
) -> ThinkingProfile | None:
    if not base.start_text or not base.end_text:
        return None
    if not certain and not (
        reader.has_marker(base.start_text) and reader.has_marker(base.end_text)
    ):
        return None
    start, end = reader.marker(base.start_text), reader.marker(base.end_text)
    return (
        replace(base, start=start, end=end)
        if start and end
        else replace(base, start=(), end=())
    )


def _fitted(
    base: ThinkingProfile,
    reader: ModelReader,
    *,
    plain: bool = False,
    certain: bool = False,
) -> ThinkingProfile | None:
    """A profile with the token ids of its markers and the levels that the template knows; None if it does not think.

    With `plain`, the markers may be plain text; with `certain`, the template need not show them either.
    """
    profile = _with_ids(base, reader, certain=plain or certain)
    if profile is None:
        return None
    levels = _levels(base.levels, reader)
    if NO_THINKING in levels:
        return replace(_shortly_skipped(profile), when="on_request", levels=levels)
    renders = reader.try_render({}) is not None
    thinks = (
        certain
        or levels
        or (renders and reader.opens(profile, _QUESTION, {}))
        or _strips(profile, reader)
    )
    return replace(profile, when="always", levels=levels) if thinks else None


def _shortly_skipped(profile: ThinkingProfile) -> ThinkingProfile:
    """The profile with an empty thought as `skip`: a model that can do without thinking knows it."""
    if profile.when == "on_request":
        return profile
    return replace(profile, skip=f"{profile.start_text}\n\n{profile.end_text}\n\n")


def _levels(
    known: Mapping[str, Arguments], reader: ModelReader
) -> dict[str, Arguments]:
    """The levels that the template tells apart: those of the family, or else those of the usual arguments.

    Those that it renders alike have the arguments of the highest of them.
    """
    switches = [
        {NO_THINKING: {name: False}} | {level: {name: True} for level in _LEVELS}
        for name in ("enable_thinking", "thinking")
    ]
    for levels in [known, *switches, _EFFORTS]:
        rendered = {
            level: reader.try_render(arguments) for level, arguments in levels.items()
        }
        accepted = {level: text for level, text in rendered.items() if text is not None}
        if len(set(accepted.values())) > 1:
            highest = {text: levels[level] for level, text in accepted.items()}
            return {level: highest[text] for level, text in accepted.items()}
    return {}


def _strips(profile: ThinkingProfile, reader: ModelReader) -> bool:
    """Whether the template removes the thinking from an earlier turn, and so knows of it."""
    thought = Message(
        "assistant", f"{profile.start_text}\nhm\n{profile.end_text}\n\nIt is 7."
    )
    rendered = reader.try_render(
        {}, (*_QUESTION, thought, Message("user", "And 4 + 5?"))
    )
    if rendered is None:
        return False
    if isinstance(rendered, str):
        return profile.start_text not in rendered and "It is 7." in rendered
    return bool(profile.start) and profile.start[0] not in rendered
