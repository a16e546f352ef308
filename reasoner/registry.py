"""The registry: `best_of_n:n=16` becomes a strategy, found through entry points on first use."""

import dataclasses
import importlib.util
import inspect
import json
import re
import sys
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Final, Literal

from reasoner.errors import (
    ReasonerError,
    UnknownName,
    UsageError,
    misfit,
    require_choice,
    require_name,
    shown,
)
from reasoner.specs import BareWord, OpenOptions, Spec, Value, hints_of, written
from reasoner.system.foreign import ForeignErrors
from reasoner.system.machine import own_plug_ins, plug_ins
from reasoner.system.printing import without_userinfo
from reasoner.types import SamplingParams, ThinkingLevel, thinking_level

Kind = Literal["strategy", "verifier", "engine", "task", "rule"]
Shows = Callable[[type, str], bool]
"""Whether an option of a class is shown."""
Check = Callable[[type, str], object]
"""Receives each option that a spec sets, with the class that it belongs to, before anything is made of it."""
_GROUPS: Mapping[Kind, str] = {
    "strategy": "reasoner.strategies",
    "verifier": "reasoner.verifiers",
    "engine": "reasoner.engines",
    "task": "reasoner.tasks",
    "rule": "reasoner.rules",
}
DEFAULT_ENGINE = "vllm"
DEFAULT_STRATEGY = "self_consistency"
DEFAULT_VERIFIER = "certainty"
VOTE_VERIFIER = "certainty*equations"
"""What weights a vote where no verifier is named."""


_IN_FILES: dict[tuple[Kind, str], EntryPoint] = {}
"""The classes of files that a user named, by kind and name."""
_IN_FILE: Final = re.compile(r"([^\s,=()\[\]*]+\.py)(?::([^\W\d]\w*))?")


@cache
def entries(kind: Kind) -> Mapping[str, EntryPoint]:
    """The registered names of one kind, in which our own go first; nothing is imported yet."""
    return {
        **{entry.name: entry for entry in plug_ins(_GROUPS[kind])},
        **{name: entry for (of, name), entry in _IN_FILES.items() if of == kind},
        **_own_entries(kind),
    }


def with_files(kind: Kind, text: str) -> str:
    """A spec in which a class of a Python file, as in `mine.py:MyVote:n=8`, has the name of the class alone.

    The classes are registered for this process. As the files are run, this is only for what a user typed: the name of a
    file in any other spec is an unknown name.

    Raises:
        UsageError: a file cannot be run, or has no such class.
    """
    return _IN_FILE.sub(lambda match: _registered(kind, match[1], match[2]), text)


def _registered(kind: Kind, file: str, name: str | None) -> str:
    path = Path(file).resolve()
    module = f"reasoner_file_{path.stem}"
    if not path.is_file():
        raise UsageError(f"there is no file {file}")
    loaded = sys.modules.get(module)
    if loaded is None or loaded.__file__ != str(path):
        with ForeignErrors(file, UsageError):
            made = importlib.util.spec_from_file_location(module, path)
            assert made
            assert made.loader
            sys.modules[module] = loaded = importlib.util.module_from_spec(made)
            made.loader.exec_module(loaded)
    own = sorted(
        each
        for each, value in vars(loaded).items()
        if dataclasses.is_dataclass(value) and value.__module__ == module
    )
    if name is None:
        example = own[0] if own else "CLASS"
        raise UsageError(f"name a class of {file}, as in {file}:{example}")
    require_name("class", name, own, of=file)
    known = (entries(kind).get(name) or EntryPoint(name, "", "")).value
    entry = EntryPoint(name, f"{module}:{name}", _GROUPS[kind])
    if known not in ("", entry.value):
        raise UsageError(f"{file}: there is another {kind} named {name}: rename yours")
    _IN_FILES[kind, name] = entry
    entries.cache_clear()
    _name_at.cache_clear()
    return name


@cache
def _own_entries(kind: Kind) -> Mapping[str, EntryPoint]:
    return {entry.name: entry for entry in own_plug_ins(_GROUPS[kind])}


def load(kind: Kind, name: str) -> type:
    """The class registered as `name`, or the class of an alias.

    Raises:
        UnknownName: no such name; the message suggests the nearest.
        UsageError: it is registered but cannot be imported.
    """
    require_choice(kind, "the kind of a plug-in", _GROUPS)
    name = expanded(kind, Spec(name)).name
    known = _own_entries(kind)
    if name not in known:
        known = entries(kind)
    if name not in known:
        raise UnknownName(kind, name, names(kind))
    try:
        loaded = known[name].load()
    except Exception as error:
        raise UsageError(
            f"the {kind} {name!r} ({known[name].value}) cannot be imported: {error}"
        ) from error
    if not (inspect.isclass(loaded) and dataclasses.is_dataclass(loaded)):
        raise UsageError(
            f"the {kind} {name!r} ({known[name].value}) is not a dataclass, so no options can be set"
        )
    return loaded


def names(kind: Kind) -> list[str]:
    """All names that a spec of this kind may begin with, in order."""
    return sorted({*entries(kind), *_aliases_of(kind)})


@cache
def aliases() -> Mapping[str, tuple[str, str]]:
    """The aliases of strategies: the spec and what it is for, from `aliases.toml`."""
    table = Path(__file__).with_name("aliases.toml").read_text(encoding="utf-8")
    return {name: (spec, what) for name, (spec, what) in tomllib.loads(table).items()}


def _aliases_of(kind: Kind) -> Mapping[str, tuple[str, str]]:
    """The aliases of a kind, but for names of plug-ins."""
    if kind != "strategy":
        return {}
    return {
        name: meaning
        for name, meaning in aliases().items()
        if name not in _own_entries(kind)
    }


def expanded(kind: Kind, spec: str | Spec) -> Spec:
    """A spec, read where it is text; an alias is replaced by what it means, and the spec's own options go first.

    Raises:
        UsageError: the text is not a spec.
    """
    spec = Spec.parse(spec) if isinstance(spec, str) else spec
    if spec.name not in _aliases_of(kind):
        return spec
    meant = Spec.parse(aliases()[spec.name][0])
    return Spec(meant.name, {**meant.options, **spec.options})


def build(kind: Kind, spec: str | Spec, /, **common: Any) -> Any:
    """The object that a spec describes; see `reasoner.specs` for how it is written.

        build("strategy", "self_consistency:n=8")

    Options are the fields of its dataclass; where it draws samples, those of `SamplingParams` too, as `params.stop`
    where it has a `stop` of its own; where it has `OpenOptions`, those that it reads itself. A value without a name
    sets the first option, where that has no default, as in `hf:ORG/NAME,split=test`. `common` are default options,
    which the spec may override.

    Raises:
        UsageError: not a spec, an unknown name or option, or a value that does not fit.
    """
    return _built(kind, spec, common, lambda _cls, _option: None)


def build_checked(kind: Kind, spec: str | Spec, check: Check) -> Any:
    """Like `build`, after a `check` of each option that the spec, and each spec in it, sets."""
    return _built(kind, spec, {}, check)


def _built(
    kind: Kind, spec: str | Spec, common: Mapping[str, Any], check: Check
) -> Any:
    if not isinstance(spec, str | Spec):
        raise UsageError(
            f"the spec of a {kind} must be text, as in NAME:OPTION=VALUE (got {shown(spec)})"
        )
    spec = expanded(kind, spec)
    name, owner = spec.name, f"{kind} {spec.name}"
    cls = load(kind, name)
    fields = options_of(cls)
    base = fields["params"].default if "params" in fields else None
    sampling = sampling_options(cls) if isinstance(base, SamplingParams) else {}
    allowed = sorted((fields.keys() | sampling.keys()) - {"params"})
    opened: OpenOptions | None = getattr(cls, "open_options", None)
    values: dict[str, Any] = dict(common)
    params: dict[str, Value] = {}
    beyond: dict[str, Value] = {}
    for written_option, value in spec.options.items():
        option = written_option or _first_required(owner, name, fields, value)
        if opened and option not in allowed:
            check(cls, opened.field)
            beyond[option] = value
            continue
        require_name("option", option, allowed, of=owner)
        if option in fields:
            check(cls, option)
            values[option] = value
        else:
            check(SamplingParams, sampling[option])
            params[sampling[option]] = value
    if unknown := values.keys() - fields.keys():
        raise UnknownName("option", min(unknown), allowed, of=owner)
    options = _converted(owner, values, cls, check)
    if params and isinstance(base, SamplingParams):
        options["params"] = dataclasses.replace(
            base, **_converted(owner, params, SamplingParams, check)
        )
    if opened and beyond:
        options[opened.field] = {**options.get(opened.field, {}), **opened.read(beyond)}
    if missing := [
        option
        for option, field in fields.items()
        if _required(field) and option not in options
    ]:
        example = (
            f"{name}:FILE" if missing == ["path"] else f"{name}:{missing[0]}=VALUE"
        )
        raise UsageError(f"{owner} needs {' and '.join(missing)}: write {example}")
    with ForeignErrors(f"the {owner}", UsageError):
        return cls(**options)


def check_types(thing: object) -> None:
    """Check that the options of a plug-in that are text, plug-ins or values of ours are so, and check these too.

    Raises:
        UsageError: as in "SelfConsistency: stop must be a StopRule (got 'beta'): pass build('rule', 'beta')".
    """
    if not dataclasses.is_dataclass(thing):
        return
    cls: Any = type(thing)
    for option, hint in hints_of(cls).items():
        value = getattr(thing, option, None)
        if not _fits(value, hint):
            kind = _nested(hint) if isinstance(value, str) else None
            meant = (
                f"{value.__name__}()"
                if isinstance(value, type)
                else kind and f"build({kind!r}, {value!r})"
            )
            parts = typing.get_args(hint) if _optional(hint) else (hint,)
            wanted = " or ".join(_in_words(part) for part in parts if part is not _NONE)
            advice = f": pass {meant}" if meant else ""
            raise UsageError(
                f"{cls.__name__}: {option} must be {wanted} (got {shown(value)}){advice}"
            )
        if not isinstance(value, type):
            check_types(value)


_NONE = type(None)


def _fits(value: object, hint: Any) -> bool:
    """Whether a value has a type; True for types that are not checked."""
    if _optional(hint):
        return any(
            value is None if part is _NONE else _fits(value, part)
            for part in typing.get_args(hint)
        )
    if typing.get_origin(hint) is tuple:
        kind, *more = typing.get_args(hint)
        return isinstance(value, tuple) and (
            more != [...] or all(_fits(item, kind) for item in value)
        )
    if getattr(hint, "_is_protocol", False):
        members = [name for name in vars(hint) if not name.startswith("_")]
        return not isinstance(value, type) and all(
            inspect.getattr_static(value, name, hint) is not hint for name in members
        )
    checked: Any = hint
    return not (hint is str or dataclasses.is_dataclass(hint)) or isinstance(
        value, checked
    )


def _in_words(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return f"a tuple of {getattr(typing.get_args(hint)[0], '__name__', 'values')}"
    name = getattr(hint, "__name__", str(hint))
    return "text" if hint is str else f"{'an' if name[:1] in 'AEIOU' else 'a'} {name}"


def options_of(cls: Any) -> dict[str, "dataclasses.Field[Any]"]:
    """The fields of a dataclass that a spec can set; those that are keyword-only come last."""
    fields = sorted(dataclasses.fields(cls), key=lambda field: field.kw_only is True)
    return {field.name: field for field in fields if field.init}


def sampling_options(cls: Any) -> dict[str, str]:
    """The options of `SamplingParams` as they are written for a class that draws; the class's own names go first."""
    fields = options_of(cls)
    names = [field.name for field in dataclasses.fields(SamplingParams)]
    return {f"params.{name}" if name in fields else name: name for name in names}


def schema_of(cls: Any) -> dict[str, Any]:
    """The JSON schema of the options that a spec of a class may set; a plug-in among them is a spec, as text."""
    from pydantic import TypeAdapter

    own, types = options_of(cls), hints_of(cls, marks=True)
    drawn = sampling_options(cls) if "params" in own else {}
    hints = {
        **{option: _as_text(types.get(option, Any)) for option in own},
        **{option: hints_of(SamplingParams)[name] for option, name in drawn.items()},
    }
    hints.pop("params", None)
    schemas, shared = TypeAdapter.json_schemas(
        [(option, "validation", TypeAdapter(hint)) for option, hint in hints.items()]
    )
    return {
        "type": "object",
        "properties": {option: schemas[option, "validation"] for option in hints},
        "required": [option for option, field in own.items() if _required(field)],
        "additionalProperties": hasattr(cls, "open_options"),
        **shared,
    }


def _as_text(hint: Any) -> Any:
    """The type of an option in which plug-ins are text; of what has no schema, any."""
    from pydantic import PydanticUserError, TypeAdapter

    if _nested(hint):
        return tuple[str, ...] if typing.get_origin(hint) is tuple else str
    try:
        TypeAdapter(hint).json_schema()
    except PydanticUserError:
        return Any
    return hint


def _required(field: "dataclasses.Field[Any]") -> bool:
    return (
        field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    )


def _first_required(
    owner: str, name: str, fields: Mapping[str, "dataclasses.Field[Any]"], value: Value
) -> str:
    """The option that a value without a name sets."""
    first = next(iter(fields.values()), None)
    if first is None:
        raise UsageError(
            f"{owner}: {written(value)!r} sets nothing: {name} has no options"
        )
    if not _required(first):
        # `n` alone is more often a forgotten value than a value.
        option, given = ("n" if "n" in fields else first.name), written(value)
        example = f"{name}:{option}={8 if given in fields else given}"
        raise UsageError(
            f"{owner}: {given!r} sets nothing: write OPTION=VALUE, as in {example}"
        )
    return first.name


_NESTED: Mapping[str, Kind] = {
    "Strategy": "strategy",
    "Verifier": "verifier",
    "Engine": "engine",
    "StopRule": "rule",
}


def _nested(hint: Any) -> Kind | None:
    """The kind of object that an option holds, alone or in a list, so that it is written as a spec."""
    for part in (hint, *typing.get_args(hint)):
        if getattr(part, "_is_protocol", False):
            return _NESTED.get(part.__name__)
    return None


def _converted(
    owner: str, values: Mapping[str, Any], cls: Any, check: Check
) -> dict[str, Any]:
    hints = hints_of(cls)
    return {
        option: _value(f"{owner}: {option}", value, hints.get(option, str), check)
        for option, value in values.items()
    }


def _value(where: str, value: Any, hint: Any, check: Check) -> Any:
    """The value of an option, converted from a spec or a caller to its type."""
    if hint == ThinkingLevel | None and isinstance(value, str):
        return thinking_level(value)
    if isinstance(value, BareWord) and value.lower() == "none" and _optional(hint):
        return None
    listed, kind = typing.get_origin(hint) is tuple, _nested(hint)
    if listed and isinstance(value, str | Spec):
        value = (value,) if value != "" else ()
    if kind and listed:
        return tuple(_built(kind, part, {}, check) for part in value)
    if kind and isinstance(value, str | Spec):
        return _built(kind, value, {}, check)
    return _read(where, value, str if kind else hint)


def _read(where: str, value: Any, hint: Any) -> Any:
    """Text, or lists of it, as a type; a value of a caller as it is, if it fits."""
    if hint is str and isinstance(value, str):
        return str(value)
    # Imported here, as most runs set no option that is not text.
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        given, advice = wrong["input"], misfit(wrong)
        text = shown(given)
        if isinstance(given, Spec | tuple):
            text, advice = written(given), _ADVICE.get(wrong["type"], advice)
        if isinstance(value, str) and " " in value and "=" in value:
            advice += "; separate options by commas, as in n=8,temperature=0.7"
        raise UsageError(f"{where}={text} does not fit: {advice}") from error
    except ReasonerError:
        raise
    except Exception as error:
        raise UsageError(f"{where} cannot be set from text ({error})") from error


_ADVICE: Mapping[str, str] = {
    "missing": "a value is missing",
    "string_type": "write one text, in double quotes if it has brackets",
}
"""What pydantic's words for a problem leave open."""


def _optional(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType) and type(
        None
    ) in typing.get_args(hint)


def spec_of(thing: object, shows: Shows | None = None) -> str:
    """The spec that builds `thing` again: its registered name, or its class, and the options that are not default.

    With `shows`, the default options that say something too, and only those that it lets through. Specs are recorded
    and shown, so the password of a URL is left out. What `stands_for` another thing has its spec.
    """
    return str(_spec(thing, shows))


def name_of(cls: type) -> str:
    """The registered name of a plug-in's class; of any other, where it is."""
    return _name_at(f"{cls.__module__}:{cls.__qualname__}")


@cache
def _name_at(value: str) -> str:
    known = (
        entry
        for among in (_own_entries, entries)
        for kind in _GROUPS
        for entry in among(kind).values()
    )
    return next((entry.name for entry in known if entry.value == value), value)


def _spec(thing: object, shows: Shows | None = None) -> Spec:
    thing = getattr(thing, "stands_for", thing)
    options = {
        option: as_written(value, shows) for option, value in _kept(thing, shows)
    }
    return Spec(name_of(type(thing)), options)


def _kept(thing: object, shows: Shows | None) -> list[tuple[str, Any]]:
    """The options that are not default; with `shows`, the defaults that say something too."""
    if not dataclasses.is_dataclass(thing):
        return []
    opened: OpenOptions | None = getattr(thing, "open_options", None)
    kept: list[tuple[str, Any]] = []
    for field in options_of(thing).values():
        value = getattr(thing, field.name)
        default = (
            field.default
            if field.default_factory is dataclasses.MISSING
            else field.default_factory()
        )
        silent = value == default and (
            shows is None or value in (None, "", ()) or field.name == "params"
        )
        if not field.repr or silent or (shows and not shows(type(thing), field.name)):
            continue
        if isinstance(value, SamplingParams):
            base = (
                field.default
                if isinstance(field.default, SamplingParams)
                else SamplingParams()
            )
            kept += [
                (
                    written,
                    _level(value.thinking)
                    if name == "thinking"
                    else getattr(value, name),
                )
                for written, name in sampling_options(type(thing)).items()
                if getattr(value, name) != getattr(base, name)
                and (shows is None or shows(SamplingParams, name))
            ]
        elif opened and field.name == opened.field:
            kept += value.items()
        else:
            kept.append((field.name, value))
    return kept


def _level(level: ThinkingLevel | None) -> object:
    """A thinking level as it is written: the level `none` is no missing value, and needs no quotes."""
    return BareWord(level) if isinstance(level, str) else level


def as_written(value: object, shows: Shows | None = None) -> Value:
    """The value of an option in the form of a spec."""
    if isinstance(value, tuple | list):
        return tuple(as_written(part, shows) for part in value)
    if isinstance(value, Mapping):
        return without_userinfo(json.dumps(value))
    if dataclasses.is_dataclass(value):
        return _spec(value, shows)
    if isinstance(value, BareWord):
        return value
    if value is None or isinstance(value, int | float):
        return BareWord(str(value).lower())
    if isinstance(value, types.FunctionType):
        return f"{value.__module__}:{value.__qualname__}"
    return without_userinfo(str(value))
