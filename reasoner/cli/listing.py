"""`reasoner list`: the names that other commands accept, and one of them in full."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import click

from reasoner.cli.exits import ANSWERED, guarded
from reasoner.cli.options import LISTS, json_option, names_of, words
from reasoner.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from reasoner.registry import Kind

_KINDS: Final[Mapping[str, "Kind"]] = {
    "strategies": "strategy",
    "verifiers": "verifier",
    "engines": "engine",
    "tasks": "task",
    "rules": "rule",
}
QUESTION: Final = '"What is 3 + 4?"'
_EXTREME: Final = 10**15


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
    from reasoner.cli import details
    from reasoner.cli.terminal import Terminal
    from reasoner.registry import expanded
    from reasoner.specs import Spec

    if kind not in LISTS:
        raise UnknownName("list", kind, LISTS)
    if name is not None and kind not in _KINDS:
        where = "docs/answers.md" if kind == "answers" else f"`reasoner doctor --model {name}`"
        raise UsageError(f"{kind} are not shown one by one: see `reasoner list {kind}`, or {where}")
    if name is not None:
        entry = details.details(_KINDS[kind], expanded(_KINDS[kind], Spec(name)).name)
        Terminal().show(json.dumps(entry) if as_json else "\n".join(details.entry_lines(entry)))
        return ANSWERED
    others = {"models": details.models, "answers": details.answers}
    rows = others[kind]() if kind in others else details.rows_of(_KINDS[kind])
    Terminal().show(json.dumps(rows) if as_json else "\n".join(details.list_lines(rows)))
    return ANSWERED
