"""How a model thinks, as its files show: without its tokenizer, and before any engine is started."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from reasoner.models.families import Arguments, profile_of
from reasoner.models.probing import Reader, find_profile
from reasoner.models.thinking import ThinkingProfile
from reasoner.system.files import read_object
from reasoner.types import Message, TokenIds

_LETTERS: Final = 1 << 24
"""Stands for a letter that is in no added token: any number above those of token ids."""


def read_profile(folder: Path, name: str) -> ThinkingProfile | None:
    """How the model in `folder` thinks; None for one that does not, as far as its files show.

    Its markers have no token ids that mean anything. A model that renders chats by code is known by its name only.
    """
    source = _template(folder)
    if source is None:
        return profile_of(name)
    added = _added_tokens(folder)
    pattern = re.compile("|".join(map(re.escape, sorted(added, key=len, reverse=True))) or r"(?!)")

    def encode(text: str) -> TokenIds:
        ids, position = [], 0
        for match in pattern.finditer(text):
            ids += [*(_LETTERS + ord(letter) for letter in text[position : match.start()]), added[match.group()]]
            position = match.end()
        return (*ids, *(_LETTERS + ord(letter) for letter in text[position:]))

    def render(messages: Sequence[Message], arguments: Arguments) -> str:
        turns = [{"role": message.role, "content": message.content} for message in messages]
        return _rendered(source, {**_special(folder), **arguments, "messages": turns, "add_generation_prompt": True})

    model_type = str(_read(folder / "config.json").get("model_type") or "")
    return find_profile(name, model_type, Reader(render, encode, added))


def _rendered(source: str, values: Mapping[str, Any]) -> str:
    """A chat template, rendered in a sandbox with the functions that templates expect."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise ValueError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals |= {"raise_exception": refuse, "strftime_now": lambda _: "2026-01-01"}
    return environment.from_string(source).render(values)


def _template(folder: Path) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    given = _read(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(given, list):
        given = next((entry.get("template") for entry in given if entry.get("name") == "default"), None)
    return given if isinstance(given, str) else None


def _added_tokens(folder: Path) -> dict[str, int]:
    """The texts of the tokens that were added to the vocabulary, with their ids."""
    listed = _read(folder / "tokenizer.json").get("added_tokens") or ()
    return {str(token["content"]): int(token["id"]) for token in listed if token.get("content")}


def _special(folder: Path) -> dict[str, str]:
    config = _read(folder / "tokenizer_config.json")
    tokens = {name: config.get(name) for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
    return {name: token["content"] if isinstance(token, dict) else token or "" for name, token in tokens.items()}


def _read(file: Path) -> dict[str, Any]:
    try:
        return read_object(file)
    except (OSError, ValueError):
        return {}
