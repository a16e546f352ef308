"""The picture in README: accuracy against tokens per question, from the table of a report.

The commands of docs/report/README.md make the table; then: python bench/curve.py first/results.csv docs/curve.svg
"""

import sys

import matplotlib as mpl
import pandas as pd

mpl.use("svg")
from matplotlib import pyplot as plt

GREY, BLUE, ORANGE = "#808080", "#3b82f6", "#ea7317"


def main(table: str, picture: str) -> None:
    mpl.rcParams.update(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "curve",
            "font.size": 11,
            "text.color": GREY,
        }
    )
    rows = pd.read_csv(table)
    votes = rows[rows.strategy.str.startswith("self_consistency")].sort_values("tokens")
    [greedy] = rows[rows.strategy.str.startswith("single")].itertuples()
    figure, axes = plt.subplots(figsize=(7.2, 3.4), layout="constrained")
    for points, colour, name in (
        (votes, BLUE, "vote"),
        (rows.loc[[greedy.Index]], ORANGE, "greedy"),
    ):
        low, high = (
            points.accuracy - points.accuracy_low,
            points.accuracy_high - points.accuracy,
        )
        axes.errorbar(
            points.tokens,
            100 * points.accuracy,
            [100 * low, 100 * high],
            color=colour,
            marker="o",
            capsize=3,
            lw=2,
        )
        axes.annotate(
            name,
            (points.tokens.iloc[-1], 100 * points.accuracy.iloc[-1]),
            (8, 4),
            textcoords="offset points",
            color=colour,
            weight="bold",
        )
    for row in votes.itertuples():
        axes.annotate(
            f"n={row.size:.0f}",
            (row.tokens, 100 * row.accuracy),
            (6, -14),
            textcoords="offset points",
            color=BLUE,
            size=9,
        )
    ticks = [50, 100, 200, 400, 800]
    axes.set(
        xscale="log",
        xlabel="tokens computed per question",
        ylabel="questions answered rightly, %",
        xlim=(30, 900),
    )
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.tick_params(colors=GREY)
    axes.xaxis.label.set_color(GREY)
    axes.yaxis.label.set_color(GREY)
    axes.grid(color=GREY, alpha=0.25)
    for side, spine in axes.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_color(GREY)
    figure.savefig(picture, transparent=True, metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:3])
