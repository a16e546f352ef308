"""Objects by name: `best_of_n:n=16` becomes a strategy, found through entry points on first use."""

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint
from typing import Any, Literal

from reasoner.errors import ReasonerError, UnknownName, UsageError
from reasoner.installed import plug_ins
from reasoner.redaction import without_userinfo
from reasoner.types import SamplingParams

Kind = Literal["strategy", "verifier", "engine", "task", "rule"]
_GROUPS: Mapping[Kind, str] = {
    "strategy": "reasoner.strategies",
    "verifier": "reasoner.verifiers",
    "engine": "reasoner.engines",
    "task": "reasoner.tasks",
    "rule": "reasoner.rules",
}


@cache
def entries(kind: Kind) -> Mapping[str, EntryPoint]:
    """The registered names of one kind; nothing is imported yet."""
    return {entry.name: entry for entry in plug_ins(_GROUPS[kind])}


def load(kind: Kind, name: str) -> type:
    """The class registered as `name`.

    Raises:
        UnknownName: there is none; the message suggests the nearest.
        UsageError: it is registered and cannot be imported.
    """
    known = entries(kind)
    if name not in known:
        raise UnknownName(kind, name, known)
    try:
        loaded = known[name].load()
    except Exception as error:
        raise UsageError(f"the {kind} {name!r} ({known[name].value}) cannot be imported: {error}") from error
    if not (inspect.isclass(loaded) and dataclasses.is_dataclass(loaded)):
        raise UsageError(f"the {kind} {name!r} ({known[name].value}) is no dataclass, so it has no options to set")
    return loaded


def build(kind: Kind, spec: str, /, **common: Any) -> Any:
    """The object that `NAME` or `NAME:OPTION=VALUE,...` describes.

    Options are the fields of its dataclass; where it draws samples, those of `SamplingParams` too, as `params.stop`
    where it has a `stop` of its own. What stands first and names no option is its first one, where that has no default,
    as in `gym:chain_sum,size=100`; a `path` that is the first one goes up to the next option, commas included. `common`
    are options given elsewhere, which the spec may override.

    Raises:
        UsageError: an unknown name or option, or a value that does not fit.
    """
    name, _, tail = spec.partition(":")
    cls = load(kind, name.strip())
    own = _own(cls)
    base = own["params"].default if "params" in own else None
    drawing = drawing_options(cls) if isinstance(base, SamplingParams) else {}
    allowed = sorted((own.keys() | drawing.keys()) - {"params"})
    values: dict[str, Any] = dict(common)
    params: dict[str, Any] = {}
    main = next((option for option, field in list(own.items())[:1] if _required(field)), "")
    given = _options(kind, name, tail, main, allowed)
    for option, text in given.items():
        if option not in allowed:
            raise UnknownName("option", option, allowed, of=f"{kind} {name}")
        if option in own:
            values[option] = text
        else:
            params[drawing[option]] = text
    if unknown := values.keys() - own.keys():
        raise UnknownName("option", min(unknown), allowed, of=f"{kind} {name}")
    hints = typing.get_type_hints(cls)
    made = {option: _value(f"{kind} {name}", option, value, hints[option]) for option, value in values.items()}
    if params and isinstance(base, SamplingParams):
        hints = typing.get_type_hints(SamplingParams)
        changed = {option: _value(f"{kind} {name}", option, text, hints[option]) for option, text in params.items()}
        made["params"] = dataclasses.replace(base, **changed)
    if missing := [option for option, field in own.items() if _required(field) and option not in made]:
        example = f"{name}:FILE" if missing == ["path"] else f"{name}:{missing[0]}=VALUE"
        raise UsageError(f"{kind} {name} needs {' and '.join(missing)}: write {example}")
    return cls(**made)


def _own(cls: Any) -> dict[str, "dataclasses.Field[Any]"]:
    return {field.name: field for field in dataclasses.fields(cls) if field.init}


def drawing_options(cls: Any) -> dict[str, str]:
    """The options of `SamplingParams` as they are written for a class that draws; the class's own names go first."""
    own = _own(cls)
    names = [field.name for field in dataclasses.fields(SamplingParams)]
    return {f"params.{name}" if name in own else name: name for name in names}


def _required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _options(kind: Kind, name: str, tail: str, main: str, allowed: Collection[str]) -> dict[str, str]:
    """The options as written; the first may go without its name where it is `main`."""
    found: dict[str, str] = {}
    if main == "path":
        path, tail = _path_in(tail, [re.escape(option) for option in allowed if option != "path"])
        found |= {"path": path} if path else {}
    for place, part in enumerate(filter(None, (piece.strip() for piece in tail.split(",")))):
        option, equals, text = (piece.strip() for piece in part.partition("="))
        if not equals and place == 0 and main:
            option, equals, text = main, "=", part
        if not equals:
            raise UsageError(f"{kind} {name}: {part!r} sets nothing: write OPTION=VALUE, as in {name}:n=8")
        if option in found:
            raise UsageError(f"{kind} {name}: {option} is given twice: keep one")
        found[option] = text
    return found


def _path_in(tail: str, others: Sequence[str]) -> tuple[str, str]:
    """The path that a spec begins with, and what comes after it, from the next of the `others` on."""
    if not others:
        return tail.removeprefix("path="), ""
    named = rf"\s*(?:{'|'.join(others)})\s*="
    if re.match(named, tail):
        return "", tail
    following = re.search(f",{named}", tail)
    end = following.start() if following else len(tail)
    return tail[:end].removeprefix("path="), tail[end:]


_NESTED: Mapping[str, Kind] = {"Strategy": "strategy", "Verifier": "verifier", "Engine": "engine", "StopRule": "rule"}


def _nested(hint: Any) -> Kind | None:
    r"""The kind of thing that an option is itself; it is then written as a spec, its commas as \x2c."""
    for one in typing.get_args(hint) if _optional(hint) else (hint,):
        if getattr(one, "_is_protocol", False):
            return _NESTED.get(one.__name__)
    return None


_SEPARATING = re.compile(r"[,\n]|^ | $")
_COMMA = re.compile(r"\\x(2c|0a|20)")
"""What would end an option or be stripped from it, and how it is written in a text."""


def _value(owner: str, option: str, value: Any, hint: Any) -> Any:
    if isinstance(value, str):
        if value.lower() == "none" and _optional(hint):
            return None
        if hint is str:
            return _text(owner, option, _COMMA.sub(lambda found: chr(int(found[1], 16)), value))
        if kind := _nested(hint):
            return build(kind, _unescaped(owner, option, value))
        if typing.get_origin(hint) is tuple and (kind := _nested(typing.get_args(hint)[0])):
            return tuple(build(kind, _unescaped(owner, option, part)) for part in value.split("|") if part)
        if typing.get_origin(hint) is tuple:
            value = tuple(_unescaped(owner, option, part) for part in value.split("|")) if value else ()
    # Imported here, as most runs set no option that is not text.
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]["msg"].lower()
        raise UsageError(f"{owner}: {option}={value!r} does not fit: {problem}") from error
    except ReasonerError:
        raise
    except Exception as error:
        raise UsageError(f"{owner}: {option} cannot be set from text ({error})") from error


def _text(owner: str, option: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{owner}: {option}={value!r} does not fit: it is not UTF-8 text") from error
    return value


def _unescaped(owner: str, option: str, text: str) -> str:
    try:
        return text.encode("latin-1", "backslashreplace").decode("unicode_escape")
    except UnicodeDecodeError as error:
        raise UsageError(f"{owner}: {option}={text!r} does not fit: write a backslash as \\\\") from error


def _optional(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType) and type(None) in typing.get_args(hint)


def spec_of(thing: object) -> str:
    """The spec that builds `thing` again: its registered name, or its class, and the options that are not default.

    Specs are recorded and shown, so that the password of a URL is left out.
    """
    cls = type(thing)
    value = f"{cls.__module__}:{cls.__qualname__}"
    named = (e.name for kind in _GROUPS for e in entries(kind).values() if e.value == value)
    name = next(named, value)
    options = ",".join(f"{option}={_written(value)}" for option, value in _changed(thing))
    return f"{name}:{options}" if options else name


def _changed(thing: object) -> list[tuple[str, Any]]:
    if not dataclasses.is_dataclass(thing):
        return []
    changed: list[tuple[str, Any]] = []
    for field in dataclasses.fields(thing):
        value = getattr(thing, field.name)
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        if not field.init or not field.repr or value == default:
            continue
        if isinstance(value, SamplingParams):
            base = field.default if isinstance(field.default, SamplingParams) else SamplingParams()
            changed += [
                (written, getattr(value, name))
                for written, name in drawing_options(type(thing)).items()
                if getattr(value, name) != getattr(base, name)
            ]
        else:
            changed.append((field.name, value))
    return changed


def _written(value: object) -> str:
    if isinstance(value, tuple):
        return "|".join(_escaped(_plain(part)) for part in value)
    if dataclasses.is_dataclass(value):
        return _escaped(_plain(value))
    if value is None:
        return "none"
    return _SEPARATING.sub(lambda found: f"\\x{ord(found[0]):02x}", without_userinfo(str(value)))


def _plain(value: object) -> str:
    return spec_of(value) if dataclasses.is_dataclass(value) else str(value)


def _escaped(text: str) -> str:
    """The text without what separates options and values in a spec; blanks at its ends would be stripped."""
    plain = text.encode("unicode_escape").decode()
    return "".join(f"\\x{ord(char):02x}" if char in ",| " else char for char in plain)
