"""`reasoner list KIND NAME`: every entry has its options explained, and an example that can be run."""

import re
import shlex

import click
import jsonschema
import pytest

from reasoner.cli.details import details
from reasoner.cli.group import cli
from reasoner.registry import Kind, build, entries, load
from reasoner.specs import Spec

ENTRIES: list[tuple[Kind, str]] = [
    (kind, name)
    for kind in ("strategy", "verifier", "engine", "task", "rule")
    for name in sorted(entries(kind))
]


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_every_option_is_explained_and_the_example_is_a_command_that_uses_it(
    kind: Kind, name: str
) -> None:
    document = details(kind, name)
    bases = load(kind, name).__mro__[:-1]
    words = {
        word
        for base in bases
        for word in re.findall(r"\w+", vars(base).get("__doc__") or "")
    }
    assert document["options"].keys() <= words
    jsonschema.Draft202012Validator.check_schema(document["schema"])
    known = document["options"].keys() | document["sampling"].keys()
    assert known <= document["schema"]["properties"].keys()
    program, command, *arguments = shlex.split(document["example"])
    assert program == "reasoner"
    group = cli.get_command(click.Context(cli), command)
    assert group
    parent = click.Context(cli, help_option_names=["-h", "--help"])
    parsed = group.make_context(command, arguments, parent=parent).params
    specs = {
        "strategy": parsed.get("strategy"),
        "verifier": parsed.get("verifier"),
        "engine": parsed.get("engine"),
    }
    written = " ".join(
        map(str, [*specs.values(), *parsed.get("tasks", ()), parsed.get("base_url")])
    )
    rated_by = Spec.parse(specs["verifier"] or "none").name
    assert name in written or name == rated_by or (kind, name) == ("engine", "openai")
    for of, spec in specs.items():
        if isinstance(spec, str) and "FILE" not in spec:
            build(of, spec)  # type: ignore[arg-type]
