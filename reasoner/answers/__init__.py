"""The answer spaces by name, and the choice of one for a question."""

# Each name is imported on first use: compiling the patterns of all kinds takes longer than a question to a server.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from reasoner.answers.choices import ChoiceSpace
    from reasoner.answers.code import CodeSpace
    from reasoner.answers.forms import boxed
    from reasoner.answers.kinds import ANY_KIND, KINDS, OPTIONS, SPACES, space_for, with_options
    from reasoner.answers.maths import MathSpace
    from reasoner.answers.numbers import NumberSpace
    from reasoner.answers.reading import RULES, ByKey, ReadsForms
    from reasoner.answers.texts import MAX_TEXT, TextSpace, YesNoSpace, squad_em, squad_normal
    from reasoner.answers.thinking import TAIL, final_segment
    from reasoner.answers.whole import FreeSpace, JsonSpace

_NAMES = {
    "choices": ("ChoiceSpace",),
    "code": ("CodeSpace",),
    "whole": ("FreeSpace", "JsonSpace"),
    "kinds": ("ANY_KIND", "KINDS", "OPTIONS", "SPACES", "space_for", "with_options"),
    "maths": ("MathSpace",),
    "numbers": ("NumberSpace",),
    "reading": ("RULES", "ByKey", "ReadsForms"),
    "forms": ("boxed",),
    "thinking": ("TAIL", "final_segment"),
    "texts": ("MAX_TEXT", "TextSpace", "YesNoSpace", "squad_em", "squad_normal"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "ANY_KIND",
    "KINDS",
    "MAX_TEXT",
    "OPTIONS",
    "RULES",
    "SPACES",
    "TAIL",
    "ByKey",
    "ChoiceSpace",
    "CodeSpace",
    "FreeSpace",
    "JsonSpace",
    "MathSpace",
    "NumberSpace",
    "ReadsForms",
    "TextSpace",
    "YesNoSpace",
    "boxed",
    "final_segment",
    "space_for",
    "squad_em",
    "squad_normal",
    "with_options",
]


def __getattr__(name: str) -> "Any":
    """Import a name on first use."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"reasoner.answers.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'reasoner.answers' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
