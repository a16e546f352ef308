"""vLLM's own arguments, passed through by name: what they are called, which types they have, and which are taken."""

import ast
import dataclasses
import json
import re
import typing
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

from reasoner.engines.vllm.build import installed_build
from reasoner.errors import UnknownName, UsageError, shown
from reasoner.registry import as_written
from reasoner.specs import Bare, OpenOptions, Spec, Value, written
from reasoner.system.files import parse_json, read_whole

_LOG: Final = "its log tells stages and causes here: set the variable VLLM_LOGGING_LEVEL=INFO to see it"
OWNED: Final[dict[str, str]] = {
    "disable_log_stats": "nothing here reads these statistics",
    "hf_token": "arguments are recorded, and this is a secret: set the variable HF_TOKEN",
    "log_config_file": _LOG,
    "log_level": _LOG,
    "logging_config": _LOG,
    "logprobs_mode": "scores are computed from the raw log-probabilities",
    "model": "it is the option model of the command or model_id of the engine",
    "runner": "a model generates or rates by the class of its engine",
    "scheduling_policy": "what a strategy waits for runs first, by priority",
    "skip_tokenizer_init": "prompts are tokenized here",
    "tokens_only": "texts are read here",
    "worker_extension_cls": "it repairs the sampler",
}
"""The arguments that are decided here, each with the reason."""
_LARGEST_FILE: Final = 1 << 20
_PLAIN: Final[Mapping[str, Any]] = {
    "Any": Any, "Literal": Literal, "bool": bool, "dict": dict, "float": float, "int": int, "list": list, "set": set,
    "str": str,
}  # fmt: skip
"""The names in those types that can be checked without importing vLLM, which takes seconds."""
_LARGE: Final = re.compile(r"(\d+)([kKmMgGtT])", re.ASCII)
_FACTORS: Final[Mapping[str, int]] = {
    unit: base**power
    for base, units in ((1000, "kmgt"), (1024, "KMGT"))
    for power, unit in enumerate(units, 1)
}  # fmt: skip


def from_spec(options: Mapping[str, Value]) -> dict[str, Any]:
    """The arguments that a spec gives by name, and in the YAML or JSON file `args`; those by name go first.

    Raises:
        UsageError: the file cannot be read, or a value is an object.
    """
    given = dict(options)
    path = given.pop("args", None)
    if path is not None and not isinstance(path, str):
        raise UsageError(f"args={written(path)} does not fit: write the path of a YAML or JSON file")
    return {
        **(from_file(Path(path)) if path is not None else {}),
        **{name: _plain(name, value) for name, value in given.items()},
    }


OPEN: Final = OpenOptions("args", from_spec)
"""For classes with a field `args` of vLLM's arguments."""


def _plain(name: str, value: Value) -> Any:
    if isinstance(value, Spec):
        raise UsageError(f"{name}={written(value)} does not fit: write an object as JSON, as in {name}={{}}")
    if isinstance(value, tuple):
        return [_plain(name, item) for item in value]
    return None if isinstance(value, Bare) and value.lower() == "none" else str(value)


def from_file(path: Path) -> dict[str, Any]:
    """The arguments in a file of `name: value` pairs, YAML or JSON; a name may have dashes, as in a file for vLLM.

    Raises:
        UsageError: it cannot be read, holds something else, or YAML is given and no reader of it is installed.
    """
    try:
        content = read_whole(path.expanduser(), limit=_LARGEST_FILE).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UsageError(f"cannot read {path}: {reason}: args takes a YAML or JSON file") from error
    try:
        read = _parsed(content)
    except ValueError as error:
        raise UsageError(f"malformed {path}: {' '.join(str(error).split())}") from error
    if not isinstance(read, dict):
        raise UsageError(f"malformed {path}: it must hold pairs of a name and a value (got {shown(read)})")
    return {str(name).replace("-", "_"): value for name, value in read.items()}


def _parsed(content: str) -> Any:
    """The value of a JSON or YAML text. Raises ValueError."""
    try:
        return parse_json(content)
    except ValueError:
        try:
            import yaml
        except ImportError:
            raise ValueError("it is not JSON, and PyYAML, which reads YAML, is not installed") from None
        try:
            return yaml.safe_load(content)
        except (yaml.YAMLError, RecursionError) as error:
            raise ValueError(str(error) or "it is nested too deeply") from error


def check_args(args: object, own: Collection[str], owned: Mapping[str, str] = OWNED) -> None:
    """Check names, and plain types, without importing vLLM; where it is not installed any name passes.

    `own` are the options of the engine itself, `owned` those that cannot be set.

    Raises:
        UsageError: an unknown name, one that is decided here, a value that does not fit or cannot be recorded.
    """
    if not isinstance(args, Mapping):
        raise UsageError(f"args must be a mapping from vLLM's arguments to values (got {shown(args)})")
    if not args:
        return
    known = known_arguments()
    for name, value in args.items():
        if name in owned:
            raise UsageError(f"{name} of vLLM cannot be set: {owned[name]}")
        if name in own:
            raise UsageError(
                f"args holds {name}, which is an option of its own: give it as {name}={value}, not in args"
            )
        if known and name not in known:
            build = installed_build()
            raise UnknownName(
                "option", str(name), ({*known, "args"} - owned.keys()) | set(own), of=f"vllm {build and build.version}"
            )
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise UsageError(f"{name} of vLLM must be text, a number, a list or a mapping of these") from error
    hints = _plain_hints()
    for name in args.keys() & hints.keys():
        _fitted(name, args[name], hints[name])


def converted(args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments in the types of vLLM's `AsyncEngineArgs`; vLLM is imported.

    Raises:
        UsageError: a value does not fit.
    """
    from vllm.engine.arg_utils import AsyncEngineArgs

    hints = {field.name: field.type for field in dataclasses.fields(AsyncEngineArgs)}
    # A type in quotes may name what vLLM imports for type checkers only.
    return {
        name: _fitted(name, value, Any if isinstance(hints[name], str) else hints[name]) for name, value in args.items()
    }


def changed(args: Mapping[str, Any]) -> dict[str, Any]:
    """Those arguments, as given, that differ from vLLM's defaults; vLLM is imported.

    Raises:
        UsageError: as `converted`.
    """
    from vllm.engine.arg_utils import AsyncEngineArgs

    # Without an object: to make one, vLLM looks for its default model, which it cannot find offline.
    fields = {field.name: field for field in dataclasses.fields(AsyncEngineArgs)}

    def default(name: str) -> Any:
        given = fields[name].default_factory
        return fields[name].default if given is dataclasses.MISSING else given()

    return {name: args[name] for name, value in converted(args).items() if value != default(name)}


@lru_cache(maxsize=1)
def known_arguments() -> Mapping[str, str]:
    """The public arguments of the installed vLLM and their types as written; empty where there is none."""
    if installed_build() is None:
        return {}
    package = find_spec("vllm")
    folder = next(iter(package.submodule_search_locations or ()), None) if package else None
    if folder is None:
        return {}
    tree = ast.parse((Path(folder) / "engine" / "arg_utils.py").read_bytes())

    def in_source(hint: ast.expr) -> str:
        return str(hint.value) if isinstance(hint, ast.Constant) else ast.unparse(hint)

    return {
        field.target.id: in_source(field.annotation)
        for cls in tree.body
        if isinstance(cls, ast.ClassDef) and cls.name in ("EngineArgs", "AsyncEngineArgs")
        for field in cls.body
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and not field.target.id.startswith("_")
    }


@lru_cache(maxsize=1)
def _plain_hints() -> Mapping[str, Any]:
    def names(annotation: str) -> set[str]:
        return {node.id for node in ast.walk(ast.parse(annotation)) if isinstance(node, ast.Name)}

    plain = {name: text for name, text in known_arguments().items() if names(text) <= _PLAIN.keys()}
    return typing.get_type_hints(type("Arguments", (), {"__annotations__": plain}), dict(_PLAIN))


def _fitted(name: str, value: Any, hint: Any) -> Any:
    """The value in the type of an argument. Text is read as JSON if that fits, or else as it is written."""
    from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

    try:
        adapter = TypeAdapter(hint)
    except PydanticSchemaGenerationError:  # a type of PyTorch: vLLM checks it itself
        return value
    problem = ""
    for candidate in _readings(value):
        try:
            return adapter.validate_python(candidate)
        except ValidationError as error:
            if candidate is value or isinstance(candidate, dict):
                first = error.errors(include_url=False)[0]
                inside = f"{first['loc'][-1]}: " if isinstance(candidate, dict) and first["loc"] else ""
                problem = problem or f"{inside}{first['msg'][:1].lower()}{first['msg'][1:300]}"
    given = shown(written(as_written(value)))
    raise UsageError(f"{name}={given} does not fit vLLM: {problem}")


def _readings(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield [next(_readings(item)) for item in value]
    if isinstance(value, str):
        try:
            yield parse_json(value)
        except ValueError:
            if large := _LARGE.fullmatch(value):
                yield int(large[1]) * _FACTORS[large[2]]
    yield value
    if isinstance(value, str):
        yield [next(_readings(value))]
