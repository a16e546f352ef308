"""An engine without a model: each question has a known distribution of answers, lengths and certainties."""

from reasoner.engines.simulated.arithmetic import arithmetic
from reasoner.engines.simulated.engine import Law, SimulatedEngine

__all__ = ["Law", "SimulatedEngine", "arithmetic"]
