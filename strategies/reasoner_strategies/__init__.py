"""Built-in strategies: one algorithm a file, named as the literature names it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reasoner_strategies.ab_mcts import AbMcts
    from reasoner_strategies.adaptive_consistency import AdaptiveConsistency
    from reasoner_strategies.auto import Auto
    from reasoner_strategies.beam_search import BeamSearch
    from reasoner_strategies.best_of_n import BestOfN
    from reasoner_strategies.borda import Borda
    from reasoner_strategies.budget_forcing import BudgetForcing
    from reasoner_strategies.cisc import Cisc
    from reasoner_strategies.deepconf import DeepConf
    from reasoner_strategies.dvts import Dvts
    from reasoner_strategies.early_stopping import EarlyStopping
    from reasoner_strategies.gen_select import GenSelect
    from reasoner_strategies.knockout import Knockout
    from reasoner_strategies.likelihood import Likelihood
    from reasoner_strategies.lookahead import Lookahead
    from reasoner_strategies.mcts import Mcts
    from reasoner_strategies.pairwise import Pairwise
    from reasoner_strategies.particle_filter import ParticleFilter
    from reasoner_strategies.rebase import Rebase
    from reasoner_strategies.refine import Refine
    from reasoner_strategies.revise import Revise
    from reasoner_strategies.self_consistency import SelfConsistency
    from reasoner_strategies.short_m_at_k import ShortMAtK
    from reasoner_strategies.single import Single
    from reasoner_strategies.speculative_rejection import SpeculativeRejection
    from reasoner_strategies.tree_of_thoughts import TreeOfThoughts
    from reasoner_strategies.universal import Universal

_HOMES = {
    "AbMcts": "ab_mcts",
    "AdaptiveConsistency": "adaptive_consistency",
    "Auto": "auto",
    "BeamSearch": "beam_search",
    "BestOfN": "best_of_n",
    "Borda": "borda",
    "BudgetForcing": "budget_forcing",
    "Cisc": "cisc",
    "DeepConf": "deepconf",
    "Dvts": "dvts",
    "EarlyStopping": "early_stopping",
    "GenSelect": "gen_select",
    "Knockout": "knockout",
    "Likelihood": "likelihood",
    "Lookahead": "lookahead",
    "Mcts": "mcts",
    "Pairwise": "pairwise",
    "ParticleFilter": "particle_filter",
    "Rebase": "rebase",
    "Refine": "refine",
    "Revise": "revise",
    "SelfConsistency": "self_consistency",
    "ShortMAtK": "short_m_at_k",
    "Single": "single",
    "SpeculativeRejection": "speculative_rejection",
    "TreeOfThoughts": "tree_of_thoughts",
    "Universal": "universal",
}

__all__ = [
    "AbMcts",
    "AdaptiveConsistency",
    "Auto",
    "BeamSearch",
    "BestOfN",
    "Borda",
    "BudgetForcing",
    "Cisc",
    "DeepConf",
    "Dvts",
    "EarlyStopping",
    "GenSelect",
    "Knockout",
    "Likelihood",
    "Lookahead",
    "Mcts",
    "Pairwise",
    "ParticleFilter",
    "Rebase",
    "Refine",
    "Revise",
    "SelfConsistency",
    "ShortMAtK",
    "Single",
    "SpeculativeRejection",
    "TreeOfThoughts",
    "Universal",
]


def __getattr__(name: str) -> Any:
    """Import a strategy on first use: most programs want one or two of them."""
    if name in _HOMES:
        return getattr(import_module(f"reasoner_strategies.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'reasoner_strategies' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
