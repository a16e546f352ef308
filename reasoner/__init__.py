"""Spend inference-time compute where it buys accuracy: strategies, verifiers and a budget on one engine."""

from reasoner.budget import Budget, Cost, Ledger, Prices
from reasoner.questions import ask
from reasoner.runner import solve, solve_each, solve_many, solve_many_sync, solve_sync
from reasoner.solution import Proposal, Solution
from reasoner.types import (
    Answer,
    Completion,
    Message,
    Prompt,
    Question,
    Rating,
    SamplingParams,
    Standing,
    Usage,
)

__all__ = [
    "Answer",
    "Budget",
    "Completion",
    "Cost",
    "Ledger",
    "Message",
    "Prices",
    "Prompt",
    "Proposal",
    "Question",
    "Rating",
    "SamplingParams",
    "Solution",
    "Standing",
    "Usage",
    "ask",
    "solve",
    "solve_each",
    "solve_many",
    "solve_many_sync",
    "solve_sync",
]
