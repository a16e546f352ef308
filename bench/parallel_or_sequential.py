"""More samples or longer thinking: accuracy over a grid of both, and the best cell at equal total tokens.

It reads the table of a report, of any engine and task:

reasoner eval arithmetic --limit 200 -e simulated:thinking=400,accuracy=0.75,tokens=20 \
    -s self_consistency:n=32 --thinking 50,100,200,400,800,1600 --out grid
reasoner report grid
python bench/parallel_or_sequential.py grid/results.csv
"""

import sys

import pandas as pd

from reasoner.specs import Spec

COLUMNS = (
    "strategy",
    "size",
    "tokens",
    "acc",
    "acc_low",
    "acc_high",
    "sequential_tokens",
)
STEPS = 2.0
"""The budgets that are compared grow by this factor."""


def level(strategy: str) -> float:
    """The thinking level of a strategy's spec, in tokens; infinite where it is not bounded by a number."""
    value = str(Spec.parse(strategy).options.get("thinking", "inf"))
    return float(value) if value.replace(".", "").isdigit() else float("inf")


def cell(row: pd.Series) -> str:
    """Accuracy with its interval, and the tokens and sequential tokens per question that it took."""
    costs = f"{row.tokens:,.0f}, {row.sequential_tokens:,.0f}"
    return f"{row.acc:.1%} ({row.acc_low:.0%}-{row.acc_high:.0%}) {costs}"


def main(table: str) -> None:
    """Print the grid, then for each budget the best cell, the best single sample and the best of the shortest level."""
    rows = pd.read_csv(table, usecols=COLUMNS).dropna(subset=["size"])
    rows["level"] = rows.strategy.map(level)
    grid = rows.assign(cell=rows.apply(cell, axis=1)).pivot_table(
        "cell", "level", "size", aggfunc="first"
    )
    print(
        "accuracy (95 %), tokens and sequential tokens per question; rows: thinking level, columns: samples"
    )
    print(grid.to_string())
    print(
        "\nat most      best                     one sample, longer thinking   most samples, shortest thinking"
    )
    budget = rows.tokens.min() * STEPS
    while budget < rows.tokens.max() * STEPS:
        free = rows[rows.tokens <= budget]
        families = (free, free[free["size"] == 1], free[free.level == rows.level.min()])
        print(f"{budget:>8,.0f}  " + "  ".join(map(best, families)))
        budget *= STEPS


def best(rows: pd.DataFrame) -> str:
    """The most accurate cell, the cheapest of equals."""
    if rows.empty:
        return f"{'-':<26}"
    top = rows.sort_values(["acc", "tokens"], ascending=[False, True]).iloc[0]
    text = f"n={top.loc['size']:.0f}, thinking={top.level:.0f}: {top.acc:.1%}"
    return f"{text:<26}"


if __name__ == "__main__":
    main(sys.argv[1])
