"""`reasoner list`: what can be named on the command line."""

import dataclasses
import inspect
import json
import shutil
import sys
import textwrap
from typing import Any

import click

from reasoner.cli.exits import ANSWERED, guarded

_KINDS = {"strategies": "strategy", "verifiers": "verifier", "engines": "engine", "tasks": "task", "rules": "rule"}
_LISTS = (*_KINDS, "models")


@click.command("list")
@click.argument("what", metavar="|".join(_LISTS))
@click.option("--json", "as_json", is_flag=True, help="Give the list as JSON.")
@guarded
def command(what: str, *, as_json: bool) -> int:
    """Show strategies, verifiers, engines, tasks, rules or models, with their options.

    An option is shown with its default; one shown without has none. How sequences are drawn is an option of every
    strategy that draws any; those defaults are shown once, at the end.
    """
    from reasoner.cli.terminal import Terminal
    from reasoner.errors import UnknownName

    if what not in _LISTS:
        raise UnknownName("list", what, _LISTS)
    rows = _models() if what == "models" else _entries(_KINDS[what])
    terminal = Terminal(sys.stdout, sys.stderr)
    if as_json:
        terminal.give(json.dumps(rows))
        return ANSWERED
    for line in _lines(rows, min(shutil.get_terminal_size().columns, 100)):
        terminal.give(line)
    return ANSWERED


def _lines(rows: list[dict[str, Any]], width: int) -> list[str]:
    from reasoner.types import SamplingParams

    common = {field.name: _text(field.default) for field in dataclasses.fields(SamplingParams)}
    indent = max(19, *(len(row["name"]) + 2 for row in rows)) if width >= 70 else 4
    lines: list[str] = []
    for row in rows:
        draws = common.keys() <= row["options"].keys()
        own = {k: v for k, v in row["options"].items() if not draws or k not in common or v != common[k]}
        name = f"{row['name']:<{indent}}"
        if len(name) > indent:
            lines, name = [*lines, row["name"]], " " * indent
        lines += _wrapped(row["what"], name, " " * indent, width)
        lines += _wrapped(_written(own), " " * (indent + 2), " " * (indent + 2), width)
    if any(common.keys() <= row["options"].keys() for row in rows):
        lines += [
            "",
            *_wrapped(f"how sequences are drawn, where not said otherwise: {_written(common)}", "", "  ", width),
        ]
    return lines


def _written(options: dict[str, str]) -> str:
    return ", ".join(f"{name}={default}" if default else name for name, default in options.items())


def _wrapped(text: str, first: str, rest: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        max(width, 40),
        initial_indent=first,
        subsequent_indent=rest,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _models() -> list[dict[str, Any]]:
    from reasoner.models.embedded import EMBEDDED, EMBEDDED_NAME

    return [
        {"name": EMBEDDED, "what": f"{EMBEDDED_NAME}, comes with the extras `cpu` and `gpu`", "options": {}},
        {"name": "PATH", "what": "a folder with a model in Hugging Face format", "options": {}},
        {"name": "ORG/NAME", "what": "a Hugging Face id, fetched by vLLM", "options": {}},
    ]


def _entries(kind: Any) -> list[dict[str, Any]]:
    from reasoner.catalog import entries, load
    from reasoner.errors import UsageError

    rows = []
    for name in sorted(entries(kind)):
        try:
            cls = load(kind, name)
        except UsageError as error:
            rows.append({"name": name, "what": f"broken: {error}", "options": {}})
            continue
        what = (inspect.getdoc(cls) or "").partition("\n\n")[0].replace("\n", " ")
        rows.append({"name": name, "what": what, "options": _options(cls)})
    return rows


def _options(cls: Any) -> dict[str, str]:
    from reasoner.catalog import options_of, sampling_options
    from reasoner.types import SamplingParams

    shown: dict[str, str] = {}
    for field in options_of(cls).values():
        if field.default_factory is not dataclasses.MISSING:
            continue
        if isinstance(field.default, SamplingParams):
            shown |= {name: _text(getattr(field.default, option)) for name, option in sampling_options(cls).items()}
        else:
            shown[field.name] = "(required)" if field.default is dataclasses.MISSING else _text(field.default)
    return shown


def _text(value: object) -> str:
    """A default as it stands in a spec; empty for an empty text or list."""
    from reasoner.catalog import as_written
    from reasoner.specs import written

    return "" if value in ("", ()) else written(as_written(value))
