"""What `reasoner list` shows: all entries of a kind, or one in full."""

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from reasoner.answers.kinds import KINDS, class_of, kind_options
from reasoner.cli.terminal import columns, labelled, wrapped
from reasoner.errors import UsageError
from reasoner.registry import (
    Kind,
    aliases,
    as_written,
    entries,
    load,
    options_of,
    sampling_options,
    schema_of,
)
from reasoner.specs import BareWord, written
from reasoner.types import FALLBACK, SamplingParams

GROUPS: Final = (
    "One chain",
    "Votes",
    "Votes that stop early",
    "Choice among samples",
    "Revision",
    "Search over steps",
)
"""The groups of strategies that come first; one that names no group is in the last, `OTHERS`."""
OTHERS: Final = "Others"
QUESTION: Final = '"What is 3 + 4?"'


def answers() -> list[dict[str, Any]]:
    """The kinds of answers."""
    auto = "Chooses one of the others by the question: listed options, a final yes or no, formulas, words."
    rows: list[dict[str, Any]] = [{"name": "auto", "what": auto, "options": {}}]
    for name in KINDS:
        cls = class_of(name)
        fields = {
            field.name: _short(field.default) for field in dataclasses.fields(cls)
        }
        rows.append(
            {
                "name": name,
                "what": _first_paragraph(cls),
                "options": {option: fields[option] for option in kind_options(name)},
            }
        )
    return rows


def _first_paragraph(cls: object) -> str:
    return _joined((inspect.getdoc(cls) or "").partition("\n\n")[0])


def rows_of(kind: Kind) -> list[dict[str, Any]]:
    """The name, first sentence and options of all entries of a kind."""
    rows: list[dict[str, Any]] = []
    for name in sorted(entries(kind)):
        try:
            cls: Any = load(kind, name)
        except UsageError as error:
            rows.append({"name": name, "what": f"broken: {error}", "options": {}})
            continue
        own = {option: _short(default) for option, default in _options(cls)}
        row = {
            "name": name,
            "what": _first_paragraph(cls),
            "options": own | _sampling(cls),
        }
        rows.append(
            row | ({"group": cls.listed_under} if hasattr(cls, "listed_under") else {})
        )
    return rows


def details(kind: Kind, name: str) -> dict[str, Any]:
    """One entry in full: what it does, whether it needs a verifier, its options, and an example.

    Raises:
        UnknownName: there is none of that name.
        UsageError: it cannot be imported.
    """
    cls: Any = load(kind, name)
    uses = getattr(cls, "uses_verifier", False)
    return {
        "kind": kind,
        "name": name,
        "what": _first_paragraph(cls),
        "more": [
            _joined(part) for part in (inspect.getdoc(cls) or "").split("\n\n")[1:]
        ],
        "needs": (
            "a verifier, for some options"
            if isinstance(uses, property)
            else "a verifier"
        )
        if uses
        else "",
        "options": {option: _text(default) for option, default in _options(cls)},
        "sampling": _sampling(cls),
        "schema": schema_of(cls),
        "example": example(kind, name, cls),
    }


def example(kind: Kind, name: str, cls: Any) -> str:
    """A command that uses it, by the `example` of its class if that has one; FILE stands for a file of the user's."""
    extra = getattr(cls, "example", "")
    match kind:
        case "task":
            return f"reasoner eval {extra or name} --limit 10"
        case "verifier":
            return f"reasoner solve {QUESTION} {extra or f'-s best_of_n:n=4 --verifier {name}'}"
        case "engine":
            return f"reasoner solve {QUESTION} {extra or f'-e {name}'}"
        case "rule":
            return f"reasoner solve {QUESTION} {extra or f'-s self_consistency:n=16,stop={name}'}"
    return (
        f"reasoner solve {QUESTION} -s {name}{':n=4' if 'n' in options_of(cls) else ''}"
    )


def _options(cls: Any) -> Iterator[tuple[str, object]]:
    """The name and default of each option that is not one of sampling; `MISSING` where one is required."""
    opened = getattr(cls, "open_options", None)
    for name, field in options_of(cls).items():
        default = _default(field)
        if opened and name == opened.field:
            yield name, BareWord("")
        elif not isinstance(default, SamplingParams) and (
            field.default_factory is dataclasses.MISSING
            or isinstance(default, tuple)
            or dataclasses.is_dataclass(default)
        ):
            yield name, default


def _sampling(cls: Any) -> dict[str, str]:
    """The sampling options of a class that draws, with what they are where neither user nor model says anything."""
    for field in options_of(cls).values():
        if isinstance(given := _default(field), SamplingParams):
            names = sampling_options(cls).items()
            return {
                written: _short(_sampling_default(cls, given, option))
                for written, option in names
            }
    return {}


def _sampling_default(cls: Any, given: SamplingParams, option: str) -> object:
    value = getattr(given.over(getattr(cls, "sampling", given), FALLBACK), option)
    return BareWord("the model's") if option == "thinking" and value is None else value


def _text(value: object) -> str:
    """A default as a spec writes it."""
    return "(required)" if value is dataclasses.MISSING else written(as_written(value))


def _short(value: object) -> str:
    """The same, but empty for an empty text or list."""
    return "" if value in ("", ()) else _text(value)


def _default(field: "dataclasses.Field[Any]") -> object:
    return (
        field.default
        if field.default_factory is dataclasses.MISSING
        else field.default_factory()
    )


def _joined(text: str) -> str:
    return " ".join(text.split())


def list_lines(kind: str, rows: list[dict[str, Any]]) -> Iterator[str]:
    """The list for a person: names beside what they do, in groups if there are any."""
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row.get("group", OTHERS), []).append(row)
    for number, group in enumerate(sorted(grouped, key=_place)):
        if len(grouped) > 1:
            yield from ["", f"{group}:"][number == 0 :]
        for row in grouped[group]:
            yield from _row_lines(row, options=kind == "answers")
    notes = (
        [] if kind == "answers" else [f"`reasoner list {kind} NAME` shows one in full"]
    )
    if kind == "strategies":
        own = entries("strategy")
        short = {name: spec for name, (spec, _) in aliases().items() if name not in own}
        notes += [f"short names, which take the same options: {_pairs(short)}"]
    for note in notes:
        yield ""
        yield wrapped(note)


def _place(group: str) -> tuple[bool, int]:
    """Groups in the order of `GROUPS`; others follow."""
    return group not in GROUPS, GROUPS.index(group) if group in GROUPS else 0


def _row_lines(row: Mapping[str, Any], *, options: bool) -> Iterator[str]:
    # A longer name has a line of its own, and so have all names in a narrow terminal.
    indent = 23 if columns() >= 70 else 4
    beside = len(row["name"]) <= indent - 2
    if not beside:
        yield row["name"]
    # Without the paper that is cited
    what = re.sub(r" \([^()]*\b\d{4}\b[^()]*\)", "", row["what"])
    yield wrapped(what, indent, row["name"] if beside else "")
    if options and row["options"]:
        yield wrapped(_pairs(row["options"]), indent + 2)


def _pairs(options: dict[str, str]) -> str:
    return ", ".join(
        f"{name}={default}" if default else name for name, default in options.items()
    )


def entry_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """The entry for a person."""
    yield wrapped(f"{document['name']}: {document['what']}")
    for part in document["more"]:
        yield ""
        yield wrapped(part)
    yield ""
    facts = {
        **document,
        "options": _pairs(document["options"]),
        "sampling": _pairs(document["sampling"]),
    }
    yield labelled(
        (label, facts[label])
        for label in ("needs", "options", "sampling", "example")
        if facts[label]
    )
