"""The settings of a server: what a file may say, and how it is refused."""

from pathlib import Path

import pytest

from reasoner.budget import Budget
from reasoner.errors import UsageError
from reasoner.serving.choose import Alias, default_aliases
from reasoner.serving.config import ServerLimits, Settings, keys_in, read_keys, read_settings
from reasoner.serving.limits import Keys

WHOLE = """
[default]
strategy = "single"

[aliases.careful]
strategy = "self_consistency:n=32"
answer = "number"
budget = "tokens=20k"
description = "a vote of 32"

[verifiers]
strict = "judge:n=3"

[limits]
max_concurrent = 8
queue = 0
max_budget = "tokens=100k,seconds=60"
body_bytes = 1000
body_seconds = 2.5

[keys]
alice = "alice-0123456789"
bob = "bob-0123456789"
"""


def written(folder: Path, text: str, *, mode: int = 0o600) -> Path:
    path = folder / "settings.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def test_a_file_sets_everything(tmp_path: Path) -> None:
    settings = read_settings(written(tmp_path, WHOLE))
    assert settings.default == Alias.of()
    careful = Alias.of("self_consistency:n=32", answer="number", budget="tokens=20k", description="a vote of 32")
    assert settings.aliases == {**default_aliases(), "careful": careful}
    assert settings.verifiers == {"strict": "judge:n=3"}
    assert settings.limits == ServerLimits(8, 0, Budget(tokens=100_000, seconds=60), 1000, 2.5)
    keys = Keys(settings.keys)
    assert [keys.client(f"Bearer {name}-0123456789").name for name in ("alice", "bob")] == ["alice", "bob"]
    assert "0123456789" not in repr(settings)


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    assert read_settings(written(tmp_path, "")) == Settings()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("= 3", "settings.toml is not TOML: "),
        ("[limit]", "unknown field 'limit': did you mean limits?"),
        ("limits = 3", r"limits: it must be a valid dictionary .* \(got 3\)"),
        ("[limits]\nqueues = 3", "unknown field 'limits.queues': did you mean queue?"),
        ("[limits]\nqueue = -1", "limits: queue must be at least 0"),
        ("[limits]\nqueue = true", r"limits.queue: it must be a valid integer \(got True\)"),
        ("[limits]\nqueue = 1.5", r"limits.queue: it must be a valid integer \(got 1.5\)"),
        ("[limits]\nmax_budget = 4000", r"limits.max_budget: it must be a valid string \(got 4000\)"),
        ('[limits]\nmax_budget = "tokes=4"', "limits: no budget unit named 'tokes'; did you mean 'tokens"),
        ("[limits]\nbody_seconds = 0", "limits: body_seconds must be above 0"),
        ("[default]\nstrategy = 'nothing'", "default: no strategy named 'nothing'"),
        ("[aliases]\nfast = 'single'", "it must be a valid dictionary"),
        ("[aliases.fast]\nn = 3", "unknown field 'aliases.fast.n' .there are: answer, budget"),
        ("[aliases.fast]\nanswer = 'number'", "aliases.fast.strategy is missing"),
        ("[aliases.fast]\nstrategy = 'single'\nbudget = 'tokes=4'", "aliases.fast: no budget unit named 'tokes'"),
        ("[aliases.fast]\nstrategy = 'single'\nanswer = 'nothing'", "aliases.fast: no answer kind named 'nothing'"),
        ("[aliases.'a b']\nstrategy = 'single'", r"should match pattern .* \(got 'a b'\)"),
        ("[verifiers]\nmine = 3", r"verifiers.mine: it must be a valid string \(got 3\)"),
        ("[keys]\nalice = 12345678", "the key alice must be a text$"),
        ("[keys]\nalice = 'short'", "the key alice has 5 characters: it must have at least 8"),
    ],
)
def test_what_does_not_fit_is_named_in_a_line(text: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=why) as refused:
        read_settings(written(tmp_path, text))
    assert "\n" not in str(refused.value)
    assert "settings.toml" in str(refused.value)
    assert "12345678" not in str(refused.value)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_keys_that_others_can_read_are_refused(mode: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can be read by others: run `chmod 600 "):
        read_settings(written(tmp_path, "[keys]\nalice = 'alice-0123456789'", mode=mode))
    read_settings(written(tmp_path, "[limits]", mode=mode))
    with pytest.raises(UsageError, match="can be read by others: run `chmod 600 "):
        read_keys(written(tmp_path, "alice-0123456789", mode=mode))


def test_keys_are_read_line_by_line_and_from_a_variable(tmp_path: Path) -> None:
    path = written(tmp_path, "# ours\nalice-0123456789\n\n  bob-0123456789  \n")
    keys = Keys([*read_keys(path), *keys_in("REASONER_API_KEYS", "carol-0123456789, dave-0123456789")])
    for name in ("alice", "bob", "carol", "dave"):
        assert keys.client(f"Bearer {name}-0123456789").name


@pytest.mark.parametrize(
    ("text", "why"), [("# none\n", "holds no key: write one on each line"), ("abc", "the key of line 1 of .* has 3")]
)
def test_a_file_without_a_usable_key_is_refused(text: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=why):
        read_keys(written(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for read in (read_settings, read_keys):
        with pytest.raises(UsageError, match=r"cannot read --(settings|api-key-file) .*: No such file"):
            read(tmp_path / "none")
