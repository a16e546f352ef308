"""`reasoner list`: the names that other commands accept, and one of them in full."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import click

from reasoner.cli.commands import LISTS, Command
from reasoner.cli.options import json_option
from reasoner.cli.terminal import ANSWERED, Terminal, guarded
from reasoner.errors import UsageError, require_name

if TYPE_CHECKING:
    from reasoner.registry import Kind

_KINDS: Final[Mapping[str, "Kind"]] = {
    "strategies": "strategy",
    "verifiers": "verifier",
    "engines": "engine",
    "tasks": "task",
    "rules": "rule",
}


@click.command("list", cls=Command, heading="Look")
@click.argument("kind", metavar="|".join(LISTS))
@click.argument("name", required=False)
@json_option("the list")
@guarded
def command(kind: str, name: str | None, *, as_json: bool) -> int:
    """Show strategies, verifiers, engines, tasks, rules or answers.

    NAME shows one in full: what it does, its options with their defaults, and an example, as in `reasoner list
    strategies best_of_n`.
    """
    from reasoner.cli import details
    from reasoner.registry import expanded
    from reasoner.specs import Spec

    require_name("list", kind, LISTS)
    if kind == "answers" and name is not None:
        raise UsageError(
            "answers are not shown one by one: see `reasoner list answers`, or docs/answers.md"
        )
    if name is not None:
        entry = details.details(_KINDS[kind], expanded(_KINDS[kind], Spec(name)).name)
        Terminal().show(
            json.dumps(entry) if as_json else "\n".join(details.entry_lines(entry))
        )
        return ANSWERED
    rows = details.answers() if kind == "answers" else details.rows_of(_KINDS[kind])
    Terminal().show(
        json.dumps(rows) if as_json else "\n".join(details.list_lines(kind, rows))
    )
    return ANSWERED
