"""Built-in strategies: one algorithm a file, named as the literature names it."""

from reasoner_strategies.best_of_n import BestOfN
from reasoner_strategies.self_consistency import SelfConsistency
from reasoner_strategies.single import Single

__all__ = ["BestOfN", "SelfConsistency", "Single"]
