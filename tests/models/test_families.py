"""Families of models that think: found by name, asked at a level, their transcripts split by the published markers."""

import tomllib
from pathlib import Path

import pytest

from reasoner.engines.openai.requests import by_text
from reasoner.models.families import (
    FAMILIES,
    ModelFamily,
    profile_of,
    skip_text,
    template_arguments,
)

KNOWN = tomllib.loads(
    Path(__file__).with_name("families.toml").read_text(encoding="utf-8")
)
NAMED = [
    (name, *kind.replace("-", "").split(" "))
    for kind, names in KNOWN["names"].items()
    for name in names
]


@pytest.mark.parametrize(("name", "parser", "when"), NAMED)
def test_a_model_is_of_the_family_that_its_name_says(
    name: str, parser: str, when: str
) -> None:
    profile = profile_of(name)
    assert profile
    assert (profile.parser, profile.when) == (parser, when)


@pytest.mark.parametrize("name", ["", *KNOWN["others"]["names"]])
def test_other_names_say_nothing_of_thinking(name: str) -> None:
    assert profile_of(name) is None


@pytest.mark.parametrize(
    "transcript", KNOWN["transcripts"], ids=lambda transcript: transcript["name"]
)
def test_a_transcript_is_split_at_the_published_markers(
    transcript: dict[str, str],
) -> None:
    profile, reply = profile_of(transcript["name"]), transcript["reply"]
    assert profile
    parts = by_text(reply, profile, opened=False, cut=False)
    assert (parts.thinking.strip(), parts.final.strip(), parts.unclosed) == (
        "Is it 12?",
        "It is 7.",
        False,
    )
    # Cut within its thinking, it has no final part, whether the prompt opened the thinking or the model did.
    cut = reply[: reply.index("12")]
    started = cut.strip() != "Is it"
    thinking, *others = by_text(cut, profile, opened=not started, cut=True)
    assert (thinking.strip(), others) == ("Is it", ["", True, None])


def answer_in(final: str) -> str:
    return final.strip().removeprefix("<answer>").removeprefix("<response>").strip()


@pytest.mark.parametrize("family", FAMILIES)
def test_closing_and_skipping_end_in_the_final_part(family: ModelFamily) -> None:
    profile = family.profile
    if not profile.end_text:
        return
    closed = by_text(
        f"{profile.start_text}Is it{profile.closing}7", profile, opened=False, cut=False
    )
    assert (answer_in(closed.final), closed.unclosed) == ("7", False)
    assert "Is it" in closed.thinking
    for opened in (False, True):
        skipped = by_text(
            skip_text(profile, "none", opened=opened) + "7"
            if "none" not in profile.levels
            else profile.skip + "7",
            profile,
            opened=opened,
            cut=False,
        )
        assert (answer_in(skipped.final), skipped.unclosed) == ("7", False)


def test_a_level_is_the_argument_that_the_template_knows() -> None:
    qwen, r1, oss = (
        profile_of("Qwen3-8B"),
        profile_of("DeepSeek-R1"),
        profile_of("gpt-oss-20b"),
    )
    assert template_arguments(qwen, "none") == {"enable_thinking": False}
    assert (
        template_arguments(qwen, 512)
        == template_arguments(qwen, "high")
        == {"enable_thinking": True}
    )
    assert template_arguments(oss, "low") == {"reasoning_effort": "low"}
    assert (
        template_arguments(r1, "low")
        == template_arguments(None, "low")
        == template_arguments(qwen, None)
        == {}
    )
    assert (
        skip_text(qwen, "none", opened=True) == skip_text(r1, "low", opened=True) == ""
    )
    assert skip_text(r1, "none", opened=False).startswith("<think>\nOkay")
    assert skip_text(r1, "none", opened=True).startswith("Okay")
    assert skip_text(oss, "none", opened=False) == "<|channel|>final<|message|>"
