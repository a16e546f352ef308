"""Built-in verifiers: one verifier a file. They rate candidates and never see a reference answer."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reasoner_verifiers.calibrated import Calibrated
    from reasoner_verifiers.certainty import Certainty
    from reasoner_verifiers.code import CodeTests
    from reasoner_verifiers.ensemble import Ensemble
    from reasoner_verifiers.judge import Judge
    from reasoner_verifiers.orm import Orm
    from reasoner_verifiers.prm import Prm
    from reasoner_verifiers.rules import Rules

_HOMES = {
    "Calibrated": "calibrated",
    "Certainty": "certainty",
    "CodeTests": "code",
    "Ensemble": "ensemble",
    "Judge": "judge",
    "Orm": "orm",
    "Prm": "prm",
    "Rules": "rules",
}

__all__ = ["Calibrated", "Certainty", "CodeTests", "Ensemble", "Judge", "Orm", "Prm", "Rules"]


def __getattr__(name: str) -> Any:
    """Import a verifier on first use, so that help for `reasoner verifier` does not wait for all of them."""
    if name in _HOMES:
        return getattr(import_module(f"reasoner_verifiers.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'reasoner_verifiers' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
