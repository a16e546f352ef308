"""vLLM's own arguments, passed through by name: which there are, which are taken, and their values by vLLM's parser."""

import argparse
import ast
import dataclasses
import json
import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from reasoner.engines.vllm.build import installed_build
from reasoner.errors import UnknownName, UsageError, shown
from reasoner.registry import as_written
from reasoner.specs import OpenOptions, Spec, Value, written
from reasoner.system.files import read_whole

_LOG: Final = "stages and causes are read from its log: set the variable VLLM_LOGGING_LEVEL=INFO to see it"
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
_TOKENS: Final = re.compile(r"(\d+(?:\.\d+)?)([kKmMgGtT])", re.ASCII)
_TYPES: Final[Mapping[str, str]] = {"half": "float16", "float": "float32"}
"""vLLM's other names of number types."""


def from_spec(options: Mapping[str, Value]) -> dict[str, Any]:
    """The arguments that a spec gives by name, and in the YAML file `args`; those by name go first.

    Raises:
        UsageError: the file cannot be read, or a value is an object.
    """
    given = dict(options)
    path = given.pop("args", None)
    if path is not None and not isinstance(path, str):
        raise UsageError(f"args={written(path)} does not fit: write the path of a YAML or JSON file")
    named = {_name(name): _plain(name, value) for name, value in given.items()}
    values = {**(from_file(Path(path)) if path is not None else {}), **named}
    return {name: _READ[name](value) if name in _READ else value for name, value in values.items()}


def _plain(name: str, value: Value) -> Any:
    if isinstance(value, Spec):
        raise UsageError(f"{name}={written(value)} does not fit: write an object as JSON, as in {name}={{}}")
    if isinstance(value, tuple):
        return [_plain(name, item) for item in value]
    return str(value)


def _name(written: str) -> str:
    """The name of an argument; in vLLM's files and commands it has dashes, and a dot before a part of its value."""
    first, dot, part = written.partition(".")
    return first.replace("-", "_") + dot + part


def _tokens(value: Any) -> Any:
    """A window in tokens, as 8k, 8K or auto."""
    if value == "auto":
        return -1
    if isinstance(value, str) and (large := _TOKENS.fullmatch(value)):
        base = 1000 if large[2].islower() else 1024
        return int(float(large[1]) * base ** ("kmgt".index(large[2].lower()) + 1))
    return value


def _dtype(value: Any) -> Any:
    return _TYPES.get(value, value) if isinstance(value, str) else value


_READ: Final = {"max_model_len": _tokens, "dtype": _dtype}
"""How the options are read that are those of an engine here and of vLLM."""
OPEN: Final = OpenOptions("args", from_spec, also=tuple(_READ), names={"model": "model_id"})
"""For classes with a field `args` of vLLM's arguments."""


def from_file(path: Path) -> dict[str, Any]:
    """The arguments in a file for vLLM's `--config`, YAML or JSON, without those of vLLM's server, such as `port`.

    Raises:
        UsageError: it cannot be read, holds something else, or no reader of YAML is installed.
    """
    try:
        import yaml
    except ImportError as error:
        raise UsageError(f"cannot read {path}: PyYAML is not installed, which comes with vLLM") from error
    try:
        content = read_whole(path.expanduser(), limit=_LARGEST_FILE).decode()
        read = yaml.safe_load(content)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UsageError(f"cannot read {path}: {reason}: args takes a YAML or JSON file") from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"malformed {path}: {' '.join(str(error).split()) or 'it is nested too deeply'}") from error
    if not isinstance(read, dict):
        raise UsageError(f"malformed {path}: it must hold pairs of a name and a value (got {shown(read)})")
    return {_name(str(name)): value for name, value in read.items() if _name(str(name)) not in server_arguments()}


def check_args(args: object, own: Collection[str], owned: Mapping[str, str] = OWNED) -> None:
    """Check names without importing vLLM; where it is not installed any name passes.

    `own` are the options of the engine itself, `owned` those that cannot be set.

    Raises:
        UsageError: an unknown name, one that is decided here, a value that cannot be recorded.
    """
    if not isinstance(args, Mapping):
        raise UsageError(f"args must be a mapping from vLLM's arguments to values (got {shown(args)})")
    if not args:
        return
    known = known_arguments()
    for given, value in args.items():
        name = _field(str(given), known)
        if name in owned:
            raise UsageError(f"{given} of vLLM cannot be set: {owned[name]}")
        if name in own:
            raise UsageError(
                f"args holds {given}, which is an option of its own: give it as {given}={value}, not in args"
            )
        if known and name not in known:
            build = installed_build()
            raise UnknownName(
                "option", str(given), ({*known, "args"} - owned.keys()) | set(own), of=f"vllm {build and build.version}"
            )
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise UsageError(f"{given} of vLLM must be text, a number, a list or a mapping of these") from error


def _field(given: str, known: Collection[str]) -> str:
    """The argument that is meant by a name such as `no_enable_x` or `compilation_config.mode`."""
    name = given.partition(".")[0]
    return name.removeprefix("no_") if name not in known and name.removeprefix("no_") in known else name


def converted(args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments in the types of vLLM's `AsyncEngineArgs`, as `vllm serve` reads them; vLLM is imported.

    Raises:
        UsageError: a value does not fit.
    """
    parser = _parser()
    together: dict[str, dict[str, Any]] = {}
    for given, value in args.items():
        together.setdefault(_field(given, known_arguments()), {})[given] = value
    typed: dict[str, Any] = {}
    for name, values in together.items():
        if _flag(name) not in parser._option_string_actions:
            typed |= values  # vLLM checks it itself
            continue
        try:
            line = [word for given, value in values.items() for word in _words(parser, given, value)]
            typed |= vars(parser.parse_args(line))
        except ValueError as error:
            given, value = next(iter(values.items()))
            text = value if isinstance(value, str) else written(as_written(value))
            problem = " ".join(str(error).split())[:300]
            raise UsageError(f"{given}={shown(text)} does not fit vLLM: {problem}") from error
    return typed


@lru_cache(maxsize=1)
def _parser() -> Any:
    """The parser of vLLM's command for its engine; it finds what is given and no defaults, and raises ValueError."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    class EngineArgsParser(FlexibleArgumentParser):  # type: ignore[misc] # vLLM's types are not checked
        def error(self, message: str) -> Any:
            raise ValueError(message.partition(": ")[2] or message)

    parser = AsyncEngineArgs.add_cli_args(EngineArgsParser(allow_abbrev=False))
    for action in parser._actions:
        action.default = argparse.SUPPRESS
    return parser


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _words(parser: Any, given: str, value: Any) -> Iterator[str]:
    """An argument as words of vLLM's command line, as its own reader of files writes them."""
    name, dot, part = given.partition(".")
    flag, flags = _flag(name), parser._option_string_actions
    action = flags[flag]
    if value is None or (value == "none" and "none" not in (action.choices or ())):
        value = "None"
    if action.nargs == 0:
        chosen = flag if value == "None" or _truth(value) else f"--no-{flag.removeprefix('--')}"
        yield from [chosen] if value != "None" and chosen in flags else []
    elif isinstance(value, list) and action.nargs is not None:
        yield from (flag, *(item if isinstance(item, str) else json.dumps(item) for item in value)) if value else ()
    elif isinstance(value, list) and all(isinstance(item, str | int) for item in value):
        yield f"{flag}={','.join(map(str, value))}"
    else:
        yield f"{flag}{dot}{part}={value if isinstance(value, str) else json.dumps(value)}"


def _truth(value: Any) -> bool:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(bool).validate_python(value)
    except ValidationError as error:
        raise ValueError("it must be true or false") from error


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
def known_arguments() -> frozenset[str]:
    """The public arguments of the installed vLLM, by its source; empty where there is none."""
    return _fields("engine/arg_utils.py", "EngineArgs", "AsyncEngineArgs")


@lru_cache(maxsize=1)
def server_arguments() -> frozenset[str]:
    """The arguments of the server of the installed vLLM that are none of its engine."""
    own = _fields("entrypoints/launchers/cli_args.py", "BaseFrontendArgs", "FrontendArgs")
    return (own | {"headless", "api_server_count", "config", "grpc"}) - known_arguments()


def _fields(file: str, *classes: str) -> frozenset[str]:
    """The public fields of classes in a file of vLLM, read without an import, which takes seconds."""
    package = find_spec("vllm") if installed_build() else None
    folder = next(iter(package.submodule_search_locations or ()), None) if package else None
    if folder is None:
        return frozenset()
    try:
        tree = ast.parse((Path(folder) / file).read_bytes())
    except OSError:  # another release has it elsewhere
        return frozenset()
    return frozenset(
        field.target.id
        for cls in tree.body
        if isinstance(cls, ast.ClassDef) and cls.name in classes
        for field in cls.body
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and not field.target.id.startswith("_")
    )
