"""One entry of a list in full: what it does, its options with their types, ranges and meanings, and an example."""

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from reasoner.errors import ReasonerError
from reasoner.registry import Kind, as_written, load, options_of, sampling_options
from reasoner.specs import Bare, written
from reasoner.types import FALLBACK, SamplingParams

if TYPE_CHECKING:
    from rich.console import RenderableType

QUESTION: Final = '"What is 3 + 4?"'
SAMPLING: Final[Mapping[str, str]] = {
    "temperature": "How random samples are; 0 is greedy.",
    "max_tokens": "The most tokens of a sample.",
    "top_p": "Only the likeliest tokens that have this probability together; 1 is no cut.",
    "top_k": "Only so many of the likeliest tokens; 0 is no cut.",
    "min_p": "Only tokens with this share of the likeliest one's probability; 0 is no cut.",
    "stop": "Texts that end a sample.",
    "stop_token_ids": "Token ids that end a sample.",
    "logprobs": "Alternatives per token whose log-probabilities are kept; none keeps nothing.",
    "presence_penalty": "Subtracted from the logit of each token that was generated.",
    "frequency_penalty": "Subtracted from the logit of a token for each time that it was generated.",
    "repetition_penalty": "Divides the logit of each token of the prompt and the reply; 1 is none.",
    "logit_bias": "Pairs of a token id and what is added to its logit, as in [[50256,-100]].",
    "bad_words": "Texts that are never generated.",
    "thinking": "How much a model that thinks should think: a level, or at most so many tokens, as in 2k.",
    "stop_in_thinking": "Whether `stop` also ends the thinking of a model; if not, only what follows it.",
    "lora": "An adapter of the model: a folder or a Hugging Face id, or the name that it has on a server.",
    "json_schema": "A JSON schema, as JSON, that a reply must satisfy; thinking is not bound by it.",
}
_EXTREME: Final = 10**15


def details(kind: Kind, name: str) -> dict[str, Any]:
    """Everything that is known of one entry, for JSON and for `layout`.

    Raises:
        UnknownName: there is none of that name.
        UsageError: it cannot be imported.
    """
    cls: Any = load(kind, name)
    text = inspect.getdoc(cls) or ""
    what, _, rest = text.partition("\n\n")
    return {
        "kind": kind,
        "name": name,
        "what": _joined(what),
        "paper": sorted(set(re.findall(r"\b\d{4}\.\d{4,5}\b", text))),
        "more": [_joined(part) for part in rest.split("\n\n") if part.strip()],
        "needs": _needs(kind, cls),
        "options": list(_options(cls)),
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
    fields = options_of(cls)
    return f"reasoner solve {QUESTION} -s {name}{':n=4' if 'n' in fields else ''}"


def _needs(kind: Kind, cls: Any) -> list[str]:
    needs = []
    if kind == "strategy":
        uses = getattr(cls, "uses_verifier", False)
        depends = isinstance(uses, property) and "Always" not in (uses.__doc__ or "")
        needs += ["a verifier, for some options"] if depends else ["a verifier"] if uses else []
    required = [name for name, field in options_of(cls).items() if _default(field) is dataclasses.MISSING]
    return needs + [f"the option {name}" for name in required]


def _options(cls: Any) -> Iterator[dict[str, str]]:
    hints, opened = typing.get_type_hints(cls), getattr(cls, "open_options", None)
    for name, field in options_of(cls).items():
        if opened and name == opened.field:
            yield {"name": name, "type": "file", "default": "none", "range": "", "meaning": _meaning(cls, name)}
            continue
        if not shown_default(field):
            continue
        if isinstance(field.default, SamplingParams):
            continue
        yield _row(name, hints[name], _default(field), _meaning(cls, name), _range(cls, name, hints[name]))
    base = options_of(cls)["params"].default if "params" in options_of(cls) else None
    if isinstance(base, SamplingParams):
        hints = typing.get_type_hints(SamplingParams)
        for name, option in sampling_options(cls).items():
            allowed = _range(SamplingParams, option, hints[option])
            # One that is not given cannot be written, but no log-probabilities can.
            hint = hints[option] if option == "logprobs" else _given(hints[option])
            yield _row(name, hint, sampling_default(cls, base, option), SAMPLING[option], allowed)


def _given(hint: Any) -> Any:
    """A type without None."""
    parts = tuple(part for part in typing.get_args(hint) if part is not type(None))
    return typing.Union[parts] if type(None) in typing.get_args(hint) else hint  # noqa: UP007 a tuple of types


def sampling_default(cls: Any, base: SamplingParams, option: str) -> object:
    """A sampling option where neither the user nor the model says anything."""
    value = getattr(base.over(getattr(cls, "sampling", base), FALLBACK), option)
    return Bare("that of the model") if option == "thinking" and value is None else value


def _row(name: str, hint: Any, default: object, meaning: str, allowed: str) -> dict[str, str]:
    shown = "(required)" if default is dataclasses.MISSING else written(as_written(default))
    return {"name": name, "type": _type(hint), "default": shown, "range": allowed, "meaning": meaning}


def shown_default(field: "dataclasses.Field[Any]") -> bool:
    """Whether a default can be shown: one that is made for each object must be a list or a plug-in."""
    made = field.default_factory is not dataclasses.MISSING
    return not made or isinstance(_default(field), tuple) or dataclasses.is_dataclass(_default(field))


def _default(field: "dataclasses.Field[Any]") -> object:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _type(hint: Any) -> str:
    """A type as a user writes values of it."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return " or ".join(map(str, parts))
    if origin in (typing.Union, types.UnionType):
        return " or ".join("none" if part is type(None) else _type(part) for part in parts)
    if origin is tuple:
        return f"list of {_type(parts[0])}" if parts[-1] is ... else f"[{', '.join(map(_type, parts))}]"
    names = {int: "integer", float: "number", str: "text", bool: "true or false"}
    kind = re.sub("(?<!^)(?=[A-Z])", " ", getattr(hint, "__name__", str(hint))).lower()
    return names.get(hint, f"spec of {'an' if kind[0] in 'aeiou' else 'a'} {kind}")


def _range(cls: Any, option: str, hint: Any) -> str:
    """The range that the class itself states where a number is out of it; empty where it accepts any."""
    if int not in (hint, *typing.get_args(hint)) and float not in (hint, *typing.get_args(hint)):
        return ""
    required = [name for name, field in options_of(cls).items() if _default(field) is dataclasses.MISSING]
    if required:
        return ""
    limits: list[str] = []
    for extreme in (-_EXTREME, _EXTREME):
        try:
            cls(**{option: extreme})
        except ReasonerError as error:
            stated = re.search(r"must be (.+?) \(got", str(error))
            limits += [stated[1]] if stated and stated[1] not in limits and option in str(error).split() else []
        except Exception:  # noqa: S112 a class that fails in another way states no range
            continue
    return " and ".join(limits)


def _meaning(cls: Any, option: str) -> str:
    """The sentence about an option in the docstrings of the class and its bases; empty if there is none."""
    for pattern in (rf"`{re.escape(option)}\b", rf"\b{re.escape(option)}\b"):
        for base in cls.__mro__[:-1]:
            text = _joined((inspect.getdoc(base) or "") if "__doc__" in vars(base) else "")
            for sentence in re.split(r"(?<=[.:;])\s+(?=[A-Z`])", text):
                if re.search(pattern, sentence):
                    return sentence
    return ""


def _joined(text: str) -> str:
    return " ".join(text.split())


def layout(document: Mapping[str, Any], width: int) -> "Iterator[RenderableType]":
    """The entry for a person."""
    from rich.text import Text

    from reasoner.cli.terminal import indented, labelled

    yield Text(f"{document['name']}: {document['what']}")
    for part in document["more"]:
        yield ""
        yield Text(part)
    yield ""
    papers = ", ".join(f"https://arxiv.org/abs/{number}" for number in document["paper"])
    rows = [("paper", papers), ("needs", ", ".join(document["needs"])), ("example", document["example"])]
    yield labelled([row for row in rows if row[1]])
    for option in document["options"]:
        yield ""
        allowed = f", {option['range']}" if option["range"] else ""
        default = option["default"] if option["default"] == "(required)" else f"default {option['default']}"
        yield Text(f"{option['name']}  {option['type']}{allowed}; {default}")
        if option["meaning"]:
            yield indented(option["meaning"], 4 if width >= 60 else 2)
