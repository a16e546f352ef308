"""Built-in strategies: one algorithm a file, named as the literature names it."""

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reasoner_strategies.ab_mcts import AbMcts
    from reasoner_strategies.aggregate import Aggregate
    from reasoner_strategies.auto import Auto
    from reasoner_strategies.beam_search import BeamSearch
    from reasoner_strategies.best_of_n import BestOfN
    from reasoner_strategies.budget_forcing import BudgetForcing
    from reasoner_strategies.code_interpreter import CodeInterpreter
    from reasoner_strategies.dvts import Dvts
    from reasoner_strategies.escalate import Escalate
    from reasoner_strategies.gen_select import GenSelect
    from reasoner_strategies.mcts import Mcts
    from reasoner_strategies.particle_filter import ParticleFilter
    from reasoner_strategies.rebase import Rebase
    from reasoner_strategies.refine import Refine
    from reasoner_strategies.self_consistency import SelfConsistency
    from reasoner_strategies.short_m_at_k import ShortMAtK
    from reasoner_strategies.single import Single
    from reasoner_strategies.tournament import Tournament
    from reasoner_strategies.tree_of_thoughts import TreeOfThoughts
    from reasoner_strategies.universal import Universal

__all__ = [
    "AbMcts",
    "Aggregate",
    "Auto",
    "BeamSearch",
    "BestOfN",
    "BudgetForcing",
    "CodeInterpreter",
    "Dvts",
    "Escalate",
    "GenSelect",
    "Mcts",
    "ParticleFilter",
    "Rebase",
    "Refine",
    "SelfConsistency",
    "ShortMAtK",
    "Single",
    "Tournament",
    "TreeOfThoughts",
    "Universal",
]


def __getattr__(name: str) -> Any:
    """Import a strategy on first use: most programs need one or two of them."""
    if name in __all__:
        modules = (
            info.name
            for info in iter_modules(__path__)
            if info.name.replace("_", "") == name.lower()
        )
        return getattr(import_module(f"{__name__}.{next(modules)}"), name)
    raise AttributeError(f"module 'reasoner_strategies' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
