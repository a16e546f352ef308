"""Built-in verifiers, one per file. They rate candidates and never see a reference answer."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reasoner_verifiers.certainty import Certainty
    from reasoner_verifiers.code import CodeTests
    from reasoner_verifiers.equations import Equations
    from reasoner_verifiers.judge import Judge
    from reasoner_verifiers.likelihood import Likelihood
    from reasoner_verifiers.orm import Orm
    from reasoner_verifiers.prm import Prm
    from reasoner_verifiers.product import Product
    from reasoner_verifiers.rules import Rules

__all__ = [
    "Certainty",
    "CodeTests",
    "Equations",
    "Judge",
    "Likelihood",
    "Orm",
    "Prm",
    "Product",
    "Rules",
]


def __getattr__(name: str) -> Any:
    """Import a verifier on first use, so that one does not wait for all of them."""
    if name in __all__:
        return getattr(
            import_module(
                f"reasoner_verifiers.{'code' if name == 'CodeTests' else name.lower()}"
            ),
            name,
        )
    raise AttributeError(f"module 'reasoner_verifiers' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
