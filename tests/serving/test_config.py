"""The settings of a server: what a file may say, and how it is refused."""

from pathlib import Path

import pytest

from reasoner.budget import Budget
from reasoner.errors import UsageError
from reasoner.registry import spec_of
from reasoner.serving.app import Keys
from reasoner.serving.choose import default_aliases
from reasoner.serving.config import ServerLimits, Settings, make_offer, read_settings
from tests.serving.asking import alias

WHOLE = """
[default]
strategy = "single"

[aliases.careful]
strategy = "self_consistency:n=32"
answer = "number"
budget = "tokens=20k"
description = "a vote of 32"

[verifiers]
strict = "certainty:measure=self_certainty"

[limits]
max_concurrent = 8
queue = 0
max_budget = "tokens=100k,seconds=60"
body_bytes = 1000
body_seconds = 2.5
drain_seconds = 7

[keys]
alice = "alice-0123456789"
bob = "bob-0123456789"
"""


def written(folder: Path, text: str, *, mode: int = 0o600) -> Path:
    path = folder / "settings.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def test_a_file_sets_everything_and_an_empty_one_nothing(tmp_path: Path) -> None:
    assert read_settings(written(tmp_path, "")) == Settings()
    assert make_offer(Settings()).default == alias()
    settings = read_settings(written(tmp_path, WHOLE))
    assert settings.limits == ServerLimits(
        max_concurrent=8,
        queue=0,
        max_budget=Budget(tokens=100_000, seconds=60),
        body_bytes=1000,
        body_seconds=2.5,
        drain_seconds=7,
    )
    keys = Keys(settings.keys)
    assert [keys.client(f"Bearer {name}-0123456789") for name in ("alice", "bob")] == [
        "alice",
        "bob",
    ]
    assert "0123456789" not in repr(settings)
    offer = make_offer(settings, strategy="best_of_n", verifier="strict")
    careful = alias(
        "self_consistency:n=32",
        answer="number",
        budget="tokens=20k",
        description="a vote of 32",
    )
    assert offer.aliases == {**default_aliases(), "careful": careful}
    assert offer.default == alias("best_of_n", verifier="strict")
    assert {name: spec_of(verifier) for name, verifier in offer.verifiers.items()} == {
        "certainty": "certainty",
        "certainty*equations": "certainty*equations",
        "strict": "certainty:measure=self_certainty",
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("= 3", "settings.toml is not TOML: "),
        ("[limit]", "unknown field 'limit': did you mean limits?"),
        (
            "[limits]\nqueue = true",
            r"limits.queue: it must be a whole number \(got True\)",
        ),
        (
            '[limits]\nmax_budget = "tokes=4"',
            "limits.max_budget: no budget unit named 'tokes'; did you mean 'tokens",
        ),
        (
            "[aliases.a]\nstrategy = 'self_consistency'\nanswer = 'free'",
            "the alias a: this strategy counts",
        ),
        (
            "[aliases.a]\nstrategy = 'best_of_n'\nverifier = 'x'",
            "the alias a: no verifier of this server named 'x'",
        ),
    ],
)
def test_what_does_not_fit_is_named_in_a_line(
    text: str, why: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=why) as refused:
        make_offer(read_settings(written(tmp_path, text)))
    assert "\n" not in str(refused.value)
    # What is wrong with the file names it; what does not fit together names the alias.
    assert ("settings.toml" in str(refused.value)) != why.startswith("the ")


def test_keys_that_others_can_read_are_refused(tmp_path: Path) -> None:
    for mode in (0o644, 0o640, 0o604):
        with pytest.raises(UsageError, match="can be read by others: run `chmod 600 "):
            read_settings(
                written(tmp_path, "[keys]\nalice = 'alice-0123456789'", mode=mode)
            )
        read_settings(written(tmp_path, "[limits]", mode=mode))
