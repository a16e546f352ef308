"""`reasoner list`: the names that other commands accept."""

import dataclasses
import inspect
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from reasoner.cli.exits import ANSWERED, guarded
from reasoner.cli.options import LISTS, json_option, names_of, words
from reasoner.errors import STRATEGIES

if TYPE_CHECKING:
    from rich.console import RenderableType

    from reasoner.registry import Kind

_KINDS: Final[Mapping[str, "Kind"]] = {
    "strategies": "strategy",
    "verifiers": "verifier",
    "engines": "engine",
    "tasks": "task",
    "rules": "rule",
}
INDENT = 19
"""Columns of the names; a longer name has a line of its own."""
NARROW = 70
"""Below this width all names have a line of their own."""


def _complete_name(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    kind = str(context.params.get("kind"))
    return names_of(_KINDS[kind])(context, parameter, incomplete) if kind in _KINDS else []


@click.command("list")
@click.argument("kind", metavar="|".join(LISTS), shell_complete=words(*LISTS))
@click.argument("name", required=False, shell_complete=_complete_name)
@json_option("the list")
@guarded
def command(kind: str, name: str | None, *, as_json: bool) -> int:
    """Show all strategies, verifiers, engines, tasks, rules, answers or models, or one.

    With NAME, shows one in full: what it does, its paper, each option with its type, range, default and meaning, and an
    example, as in `reasoner list strategies best_of_n`.

    Each option is shown with its default, or without one if it has none. The sampling options belong to every strategy
    that samples; their defaults are shown once, at the end.
    """
    from reasoner.cli.terminal import Terminal, columns
    from reasoner.errors import UnknownName

    if kind not in LISTS:
        raise UnknownName("list", kind, LISTS)
    if name is not None:
        return _show(kind, name, as_json=as_json)
    rows = {"models": _models, "answers": _answers}.get(kind, lambda: _entries(_KINDS[kind]))()
    terminal = Terminal(sys.stdout, sys.stderr)
    if as_json:
        terminal.give(json.dumps(rows))
    else:
        terminal.show(*_layout(rows, columns()), width=columns())
    return ANSWERED


def _show(kind: str, name: str, *, as_json: bool) -> int:
    """Show one entry in full; the exit code."""
    from reasoner.cli.details import details, layout
    from reasoner.cli.terminal import Terminal, columns
    from reasoner.errors import UsageError
    from reasoner.registry import expanded
    from reasoner.specs import Spec

    if kind not in _KINDS:
        where = "docs/answers.md" if kind == "answers" else f"`reasoner doctor --model {name}`"
        raise UsageError(f"{kind} are not shown one by one: see `reasoner list {kind}`, or {where}")
    document = details(_KINDS[kind], expanded(_KINDS[kind], Spec(name)).name)
    terminal = Terminal(sys.stdout, sys.stderr)
    if as_json:
        terminal.give(json.dumps(document))
    else:
        terminal.show(*layout(document, columns()), width=columns())
    return ANSWERED


def _layout(rows: list[dict[str, Any]], width: int) -> "list[RenderableType]":
    from reasoner.cli.details import sampling_default
    from reasoner.cli.terminal import indented
    from reasoner.registry import entries
    from reasoner.types import SamplingParams

    none = SamplingParams()
    sampling = {each.name: _text(sampling_default(none, none, each.name)) for each in dataclasses.fields(none)}
    indent = INDENT if width >= NARROW else 4
    parts: list[RenderableType] = []
    for row in rows:
        samples = sampling.keys() <= row["options"].keys()
        own = {name: text for name, text in row["options"].items() if not samples or sampling.get(name) != text}
        name = row["name"]
        if len(name) > indent - 2:
            parts.append(name)
            name = ""
        parts += [indented(row["what"], indent, name), *([indented(_written(own), indent + 2)] if own else [])]
    if any(sampling.keys() <= row["options"].keys() for row in rows):
        parts += ["", f"sampling defaults, where the model has none of its own: {_written(sampling)}"]
        short = {name: spec for name, (spec, _) in STRATEGIES.items() if name not in entries("strategy")}
        parts += ["", f"short names, which take the same options: {_written(short)}"]
    return parts


def _written(options: dict[str, str]) -> str:
    return ", ".join(f"{name}={default}" if default else name for name, default in options.items())


def _models() -> list[dict[str, Any]]:
    from reasoner.models.embedded import EMBEDDED, EMBEDDED_NAME

    return [
        {
            "name": EMBEDDED,
            "what": f"{EMBEDDED_NAME}, fetched at its first use (93 MB); needs the extra `vllm` or `cpu`",
            "options": {},
        },
        {"name": "PATH", "what": "a folder with a model in Hugging Face format", "options": {}},
        {"name": "ORG/NAME", "what": "a Hugging Face id; vLLM downloads it", "options": {}},
    ]


def _answers() -> list[dict[str, Any]]:
    from reasoner.answers import ANY_KIND, KINDS, OPTIONS

    chosen = {
        "name": "auto",
        "what": "Chooses one of the others by the question: listed options, a final yes or no, formulas, words.",
        "options": {},
    }
    rows = [chosen]
    for name, cls in KINDS.items():
        fields = {field.name: _text(field.default) for field in dataclasses.fields(cls)}
        options = {option: fields[option] for option in OPTIONS.get(name, ANY_KIND)}
        rows.append({"name": name, "what": _first_paragraph(cls), "options": options})
    return rows


def _first_paragraph(cls: object) -> str:
    return (inspect.getdoc(cls) or "").partition("\n\n")[0].replace("\n", " ")


def _entries(kind: Any) -> list[dict[str, Any]]:
    from reasoner.errors import UsageError
    from reasoner.registry import entries, load

    rows = []
    for name in sorted(entries(kind)):
        try:
            cls = load(kind, name)
        except UsageError as error:
            rows.append({"name": name, "what": f"broken: {error}", "options": {}})
            continue
        rows.append({"name": name, "what": _first_paragraph(cls), "options": _options(cls)})
    return rows


def _options(cls: Any) -> dict[str, str]:
    from reasoner.cli.details import sampling_default
    from reasoner.registry import options_of, sampling_options
    from reasoner.types import SamplingParams

    shown: dict[str, str] = {}
    opened = getattr(cls, "open_options", None)
    for field in options_of(cls).values():
        if opened and field.name == opened.field:
            shown[field.name] = ""
            continue
        if field.default_factory is not dataclasses.MISSING:
            if dataclasses.is_dataclass(made := field.default_factory()):
                shown[field.name] = _text(made)
            continue
        if isinstance(field.default, SamplingParams):
            for name, option in sampling_options(cls).items():
                shown[name] = _text(sampling_default(cls, field.default, option))
        else:
            shown[field.name] = "(required)" if field.default is dataclasses.MISSING else _text(field.default)
    return shown


def _text(value: object) -> str:
    """A default as it stands in a spec; empty for an empty text or list."""
    from reasoner.registry import as_written
    from reasoner.specs import written

    return "" if value in ("", ()) else written(as_written(value))
