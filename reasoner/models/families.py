"""The thinking of known model families, by the model's name or by vLLM's reasoning parser: `families.toml`.

`profile_of("Qwen/Qwen3-8B")` and `profile_for_parser("qwen3")` give a `ThinkingProfile` with markers as text
only: `start` and `end` are empty, and an engine that knows the tokenizer fills them in with
`replace(profile, start=..., end=...)`. `closing` and `skip` hold the markers. `skip` opens thinking itself and closes
it at once; where the prompt has opened it already, `skip_text` leaves the opening out. A row states what the published
chat template of a family does: an engine that sees the template itself trusts that first.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from reasoner.models.thinking import ThinkingProfile
from reasoner.types import NO_THINKING, ThinkingLevel

Arguments = Mapping[str, str | int | bool]
AUTO: Final = "auto"
"""The reasoning parser that follows from the model."""
OFF: Final = ("", "none")
"""The reasoning parser of a model that does not think."""
_TABLE: Final = tomllib.loads(
    Path(__file__).with_name("families.toml").read_text(encoding="utf-8")
)
_OTHER_USE: Final = re.compile(
    r"(?<![a-z])(base|pre-?train\w*|pt|embed(ding)?s?|rerank(er)?|guard|asr|tts|captioner|mt)(?![a-z])|^qwq.*preview"
)
"""Names of models that are not trained to chat, or answer without thinking in markers."""


class ModelFamily(NamedTuple):
    """Models that think alike: a pattern that their names match, in lower case, and their profile."""

    pattern: re.Pattern[str]
    profile: ThinkingProfile


def _family(row: Mapping[str, Any]) -> ModelFamily:
    """A row of the table; the parsers that end thinking at a call drop a closing marker that is written again."""
    start, end = row.get("markers", ("<think>", "</think>"))
    parser, when, lead = row.get("parser", ""), row["when"], row.get("lead", "")
    calls = tuple(_TABLE["calls"].get(parser, ()))
    # Thinking in one sentence, which lets a model that always thinks answer at once (Ma et al. 2025,
    # arXiv:2504.09858).
    thought = (
        "\nOkay, I think I have finished thinking.\n" if when == "always" else "\n\n"
    )
    levels = row.get("levels", {})
    if "switch" in row:
        levels = {
            level: {row["switch"]: level != NO_THINKING}
            for level in (NO_THINKING, "low", "medium", "high")
        }
    elif "efforts" in row:
        levels = {
            level: {"reasoning_effort": effort}
            for level, effort in row["efforts"].items()
        }
    profile = ThinkingProfile(
        when,
        (),
        (),
        start,
        end,
        closing=row.get("closing") or (f"\n\n{lead}" if lead else "") + f"\n{end}\n\n",
        skip=row.get("skip", f"{start}{thought}{end}\n\n"),
        levels=levels,
        parser=parser,
        also=tuple((opening, closing) for opening, closing in row.get("also", ())),
        calls=calls,
        voids=tuple(row.get("voids", (end,) if calls else ())),
    )
    return ModelFamily(re.compile(row["pattern"]), profile)


FAMILIES: Final = tuple(map(_family, _TABLE["families"]))
"""The known families; the first row that matches a name counts."""
GUESSED: Final = FAMILIES[-1]
"""Names that say that a model thinks, of no known family."""


def profile_of(name: str) -> ThinkingProfile | None:
    """How the model of this name thinks, its marker ids unknown; None where the name is of no family that thinks.

    `name` is a Hugging Face id, the path of a model or of its snapshot in a cache, or what a server calls it.
    """
    base = (
        name.split("/snapshots/", maxsplit=1)[0]
        .replace("--", "/")
        .rstrip("/")
        .rpartition("/")[2]
        .lower()
    )
    if _OTHER_USE.search(base):
        return None
    return next(
        (family.profile for family in FAMILIES if family.pattern.search(base)), None
    )


def profile_for_parser(parser: str) -> ThinkingProfile | None:
    """The profile of the models that vLLM reads with this reasoning parser; None where no family has it.

    Where models of the family differ, it is the profile of those with a choice in their chat template.
    """
    # This one splits alike, and hands on the thinking within the text.
    parser = parser.removesuffix("_append_think")
    rows = [
        family.profile
        for family in FAMILIES
        if parser and family.profile.parser == parser
    ]
    return next(
        (profile for profile in rows if profile.when == "on_request"),
        rows[0] if rows else None,
    )


def parsers() -> tuple[str, ...]:
    """The names of the reasoning parsers in the table, in alphabetical order."""
    return tuple(
        sorted({family.profile.parser for family in FAMILIES if family.profile.parser})
    )


def template_arguments(
    profile: ThinkingProfile | None, level: ThinkingLevel | None
) -> Arguments:
    """The arguments of the chat template for a thinking level; a number of tokens has those of "high"."""
    if profile is None or level is None:
        return {}
    return profile.levels.get(level if isinstance(level, str) else "high", {})


def skip_text(
    profile: ThinkingProfile | None, level: ThinkingLevel | None, *, opened: bool
) -> str:
    """What follows a prompt at level "none" if the template cannot turn thinking off; `opened`: it opened thinking."""
    if profile is None or level != NO_THINKING or NO_THINKING in profile.levels:
        return ""
    return (
        profile.skip.removeprefix(profile.start_text).lstrip("\n")
        if opened
        else profile.skip
    )
