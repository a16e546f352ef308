"""vLLM's own arguments, passed through by name: which there are, which are taken, and their values by vLLM's parser."""

import argparse
import ast
import json
from collections.abc import Collection, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from reasoner.engines.vllm.build import import_quietly, installed_build
from reasoner.errors import UnknownName, UsageError, shown
from reasoner.registry import as_written
from reasoner.specs import OpenOptions, Spec, Value, written

OWNED: Final[dict[str, str]] = {
    "disable_log_stats": "nothing here reads these statistics",
    "hf_token": "arguments are recorded, and this is a secret: set the variable HF_TOKEN",
    "logging_config": "causes of failures are read from its log: set the variable VLLM_LOGGING_LEVEL=INFO to see it",
    "logprobs_mode": "scores are computed from the raw log-probabilities",
    "model": "it is the option model of the command or model_id of the engine",
    "runner": "a model generates or rates by the class of its engine",
    "scheduling_policy": "what a strategy waits for runs first, by priority",
    "skip_tokenizer_init": "prompts are tokenized here",
    "tokens_only": "texts are read here",
    "worker_extension_cls": "it repairs the sampler",
}
"""The arguments that are decided here, each with the reason."""


def from_spec(options: Mapping[str, Value]) -> dict[str, Any]:
    """The arguments that a spec gives by name.

    Raises:
        UsageError: a value is an object.
    """
    return {name: _plain(name, value) for name, value in options.items()}


def _plain(name: str, value: Value) -> Any:
    if isinstance(value, Spec):
        raise UsageError(
            f"{name}={written(value)} does not fit: write an object as JSON, as in {name}={{}}"
        )
    if isinstance(value, tuple):
        return [_plain(name, item) for item in value]
    return str(value)


OPEN: Final = OpenOptions("args", from_spec)
"""For classes with a field `args` of vLLM's arguments."""


def check_args(
    args: object, own: Collection[str], owned: Mapping[str, str] = OWNED
) -> None:
    """Check names without importing vLLM; where it is not installed any name passes.

    `own` are the options of the engine itself, `owned` those that cannot be set.

    Raises:
        UsageError: an unknown name, one that is decided here, a value that cannot be recorded.
    """
    if not isinstance(args, Mapping):
        raise UsageError(
            f"args must be a mapping from vLLM's arguments to values (got {shown(args)})"
        )
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
                "option",
                str(name),
                (known - owned.keys()) | set(own),
                of=f"vllm {build and build.version}",
            )
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"{name} of vLLM must be text, a number, a list or a mapping of these"
            ) from error


def converted(args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments in the types of vLLM's `AsyncEngineArgs`, as `vllm serve` reads them; vLLM is imported.

    Raises:
        UsageError: a value does not fit.
    """
    parser = _parser()
    typed: dict[str, Any] = {}
    for name, value in args.items():
        if _flag(name) not in parser._option_string_actions:
            typed[name] = value  # vLLM checks it itself
            continue
        try:
            typed |= vars(parser.parse_args(_words(parser, name, value)))
        except ValueError as error:
            text = value if isinstance(value, str) else written(as_written(value))
            problem = " ".join(str(error).split())[:300]
            raise UsageError(
                f"{name}={shown(text)} does not fit vLLM: {problem}"
            ) from error
    return typed


@lru_cache(maxsize=1)
def _parser() -> Any:
    """The parser of vLLM's command for its engine; it finds what is given and no defaults, and raises ValueError."""
    import_quietly()
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


def _words(parser: Any, name: str, value: Any) -> list[str]:
    """An argument as words of vLLM's command line, as its own reader of files writes them."""
    flag = _flag(name)
    action = parser._option_string_actions[flag]
    if value is None or (value == "none" and "none" not in (action.choices or ())):
        value = "None"
    if action.nargs == 0:
        if value == "None":
            return []
        if str(value).lower() not in ("true", "false"):
            raise ValueError("it must be true or false")
        negated = f"--no-{flag.removeprefix('--')}"
        return [flag if str(value).lower() == "true" else negated]
    if isinstance(value, list) and action.nargs is not None:
        return (
            [
                flag,
                *(
                    item if isinstance(item, str) else json.dumps(item)
                    for item in value
                ),
            ]
            if value
            else []
        )
    if isinstance(value, list) and all(isinstance(item, str | int) for item in value):
        return [f"{flag}={','.join(map(str, value))}"]
    return [f"{flag}={value if isinstance(value, str) else json.dumps(value)}"]


@lru_cache(maxsize=1)
def known_arguments() -> frozenset[str]:
    """The public arguments of the installed vLLM, read from its source without an import; empty without vLLM."""
    package = find_spec("vllm") if installed_build() else None
    folder = (
        next(iter(package.submodule_search_locations or ()), None) if package else None
    )
    if folder is None:
        return frozenset()
    try:
        tree = ast.parse((Path(folder) / "engine/arg_utils.py").read_bytes())
    except OSError:  # another release has it elsewhere
        return frozenset()
    return frozenset(
        field.target.id
        for cls in tree.body
        if isinstance(cls, ast.ClassDef)
        and cls.name in ("EngineArgs", "AsyncEngineArgs")
        for field in cls.body
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and not field.target.id.startswith("_")
    )
