"""What selecting among recorded samples gains: votes, the most certain sample, and votes weighted by certainty.

    python bench/real/selection.py RECORDING [--kind number] [--figure FILE.svg] [--ratings FILE]

Prints a table with 95 % intervals over questions: greedy, one sample, and each way to select at 2, 4, 8 and 16 samples,
or all, expected over subsets of the recorded ones, with paired differences to greedy and to the vote of that size. Of
all samples, ties go to the answer that came first, as in the product and its reports. An oracle is right where any
sample is. Tokens are computed ones, a question: its prompt once, and all replies. --figure draws accuracy against them.

--ratings are a verifier's, from bench/real/ratings.py. A second table has what they gain on the questions that are
rated: against the vote of as many samples, and against the vote of as many as the same FLOPs allow.
"""

import argparse
from collections import defaultdict
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from recorded import percent, records

from reasoner.answers.kinds import space_for
from reasoner.types import Answer
from reasoner_evals.stats import Floats, Ints
from reasoner_evals.stats.estimators import best_of_k, coverage_at_k, votes_at_k
from reasoner_evals.stats.intervals import compare, interval

SIZES: Final = (1, 2, 4, 8, 16)
GREY, BLUE, ORANGE = "#808080", "#3b82f6", "#ea7317"


class Recorded(NamedTuple):
    """The samples of each question: [questions, samples]; and of its greedy reply: [questions]."""

    names: list[str]
    right: Floats
    answers: Ints
    scores: Floats
    tokens: Floats
    greedy_right: Floats
    greedy_tokens: Floats
    prompts: Floats

    def cost(self, size: int) -> float:
        """Computed tokens of a question with this many samples: its prompt once, and the replies."""
        return float(self.prompts.mean() + size * self.tokens.mean())

    @property
    def greedy_cost(self) -> float:
        """Computed tokens of a question that is answered greedily."""
        return float(self.prompts.mean() + self.greedy_tokens.mean())

    @property
    def sizes(self) -> list[int]:
        """Those of `SIZES` that the samples allow, and all samples."""
        count = self.right.shape[1]
        return sorted({count, *(size for size in SIZES if size < count)})


def read(path: Path, kind: str) -> Recorded:
    """Read a recording; equal answers of a question have one number, no answer has -1."""
    samples, greedy = defaultdict[str, list[Any]](list), dict[str, Any]()
    for record in records(path):
        if record["index"] < 0:
            greedy[record["question_id"]] = record
        else:
            samples[record["question_id"]].append(record)
    for drawn in samples.values():
        drawn.sort(key=lambda record: record["index"])
    names, space = sorted(samples), space_for(kind, "")

    def numbered(replies: list[Any]) -> list[int]:
        known, numbers = list[Answer](), list[int]()
        for record in replies:
            if record["answer"] is None:
                numbers.append(-1)
                continue
            answer = space.read(f"\\boxed{{{record['answer']}}}") or Answer(
                record["answer"], record["answer"]
            )
            same = [at for at, other in enumerate(known) if space.same(answer, other)]
            numbers.append(same[0] if same else len(known))
            if not same:
                known.append(answer)
        return numbers

    def table(field: str) -> Floats:
        rows = [
            [
                np.nan if each[field] is None else float(each[field])
                for each in samples[name]
            ]
            for name in names
        ]
        return np.array(rows)

    return Recorded(
        names,
        table("right"),
        np.array([numbered(samples[name]) for name in names]),
        table("score"),
        table("tokens"),
        np.array([float(greedy[name]["right"]) for name in names]),
        np.array([float(greedy[name]["tokens"]) for name in names]),
        np.array([float(greedy[name]["prompt_tokens"]) for name in names]),
    )


def voted(right: Floats, answers: Ints, weights: Floats) -> Floats:
    """[Q]: whether the answer with the most weight is right, of equals the one that came first; no vote is wrong."""
    shares = np.zeros(len(right))
    for row, (given, weight) in enumerate(zip(answers, weights, strict=True)):
        votes = given >= 0
        if votes.any():
            totals = np.bincount(given[votes], weight[votes])
            shares[row] = right[row, int(np.argmax(given == totals.argmax()))]
    return shares


def show_ratings(path: Path, drawn: Recorded) -> None:
    """Print what ratings gain at each size, and at what cost."""
    by_name = defaultdict[str, list[Any]](list)
    for record in records(path):
        by_name[record["question_id"]].append(record)
    for rated in by_name.values():
        rated.sort(key=lambda record: record["index"])
    rows = [row for row, name in enumerate(drawn.names) if name in by_name]
    ratings = [by_name[drawn.names[row]] for row in rows]
    count = len(ratings[0])
    values = np.array(
        [
            [np.nan if each["value"] is None else each["value"] for each in question]
            for question in ratings
        ]
    )
    spent, sampled = (
        np.mean([[each[field] for each in question] for question in ratings])
        for field in ("flops", "sample_flops")
    )
    right, answers = drawn.right[rows], drawn.answers[rows]
    sizes = [size for size in drawn.sizes if 1 < size <= count]
    ways = {
        "vote weighted by ratings": votes_at_k(
            right[:, :count], answers[:, :count], sizes, values
        ),
        "best rated sample": best_of_k(right[:, :count], values, sizes),
    }
    print(
        f"\n{len(rows)} questions with {count} rated samples, {int(np.isnan(values).sum())} ratings failed. A sample "
        f"costs {sampled / 1e9:,.0f} GFLOPs, a rating {spent / 1e9:,.0f}.\n"
    )
    print(
        "| | right, % | against greedy, points | against the vote of as many | at equal FLOPs the vote of "
        "| against it, points | TFLOPs |"
    )
    print("|---|---|---|---|---|---|---|")
    for column, size in enumerate(sizes):
        equal = min(right.shape[1], round(size * (1 + spent / sampled)))
        votes = votes_at_k(right, answers, [size, equal])
        for name, shares in ways.items():
            greedy, as_many, as_dear = (
                percent(compare(shares[:, column], other).difference, sign="+")
                for other in (drawn.greedy_right[rows], votes[:, 0], votes[:, 1])
            )
            cells = [
                f"{name}, {size}",
                percent(interval(shares[:, column])),
                greedy,
                as_many,
                str(equal),
                as_dear,
                f"{size * (sampled + spent) / 1e12:,.2f}",
            ]
            print(f"| {' | '.join(cells)} |")


def draw(path: Path, drawn: Recorded, ways: dict[str, Floats]) -> None:
    """Draw accuracy against generated tokens a question: greedy, the vote and the oracle, with intervals."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {
        "svg.fonttype": "none",
        "svg.hashsalt": "curve",
        "font.size": 11,
        "text.color": GREY,
    }
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7.2, 3.4), layout="constrained")
    tokens = [drawn.cost(size) for size in drawn.sizes]
    lines = (
        ("any sample is right", GREY, tokens, ways["oracle"]),
        ("vote", BLUE, tokens, ways["vote"]),
        ("greedy", ORANGE, [drawn.greedy_cost], drawn.greedy_right[:, None]),
    )
    for name, colour, lengths, shares in lines:
        bounds = [interval(column) for column in shares.T]
        means = np.array([100 * each.mean for each in bounds])
        reach = np.array([[100 * each.low, 100 * each.high] for each in bounds]).T
        errors = None if colour == GREY else np.abs(reach - means)
        style = "--" if colour == GREY else "-"
        axes.errorbar(
            lengths, means, errors, color=colour, marker="o", capsize=3, lw=2, ls=style
        )
        side = (-8, 4, "right") if len(lengths) == 1 else (8, 4, "left")
        axes.annotate(
            name,
            (lengths[-1], means[-1]),
            side[:2],
            textcoords="offset points",
            ha=side[2],
            color=colour,
            weight="bold",
        )
        if name == "vote":
            for size, length, mean in zip(drawn.sizes, lengths, means, strict=True):
                axes.annotate(
                    f"n={size}",
                    (length, mean),
                    (6, -14),
                    textcoords="offset points",
                    color=BLUE,
                    size=9,
                )
    axes.set(
        xscale="log",
        xlabel="tokens per question",
        ylabel="questions answered rightly, %",
    )
    axes.set_xticks(tokens, [f"{each:,.0f}" for each in tokens])
    axes.set_xlim(tokens[0] / 2, tokens[-1] * 3)
    axes.set_ylim(bottom=0)
    axes.minorticks_off()
    axes.tick_params(colors=GREY)
    axes.xaxis.label.set_color(GREY)
    axes.yaxis.label.set_color(GREY)
    axes.grid(color=GREY, alpha=0.25)
    for side_name, spine in axes.spines.items():
        spine.set_visible(side_name in {"left", "bottom"})
        spine.set_color(GREY)
    figure.savefig(path, transparent=True, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recording", type=Path)
    parser.add_argument("--kind", default="number", help="of the answers")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--ratings", type=Path, help="of bench/real/ratings.py")
    options = parser.parse_args()

    drawn = read(options.recording, options.kind)
    ways = {
        "vote": votes_at_k(drawn.right, drawn.answers, drawn.sizes),
        "vote weighted by certainty": votes_at_k(
            drawn.right, drawn.answers, drawn.sizes, drawn.scores
        ),
        "most certain sample": best_of_k(drawn.right, drawn.scores, drawn.sizes),
        "oracle": coverage_at_k(drawn.right, drawn.sizes),
    }
    alike = np.ones_like(drawn.right)
    for name, weights in (
        ("vote", alike),
        ("vote weighted by certainty", drawn.scores),
    ):
        ways[name][:, -1] = voted(drawn.right, drawn.answers, np.nan_to_num(weights))
    greedy = f"a greedy reply {drawn.greedy_tokens.mean():,.0f}"
    print(
        f"{len(drawn.right)} questions; one sample has {drawn.tokens.mean():,.0f} tokens, {greedy}\n"
    )
    print(
        "| | right, % | against greedy, points | against one sample | against the vote | tokens |"
    )
    print("|---|---|---|---|---|---|")
    print(
        f"| greedy | {percent(interval(drawn.greedy_right))} | | | | {drawn.greedy_cost:,.0f} |"
    )
    for column, size in enumerate(drawn.sizes):
        for name, shares in ways.items():
            if size == 1 and name != "vote":
                continue
            right, vote, single = (
                shares[:, column],
                ways["vote"][:, column],
                ways["vote"][:, 0],
            )
            cells = [
                "one sample" if size == 1 else f"{name}, {size}",
                percent(interval(right)),
                percent(compare(right, drawn.greedy_right).difference, sign="+"),
                ""
                if size == 1
                else percent(compare(right, single).difference, sign="+"),
                ""
                if name == "vote"
                else percent(compare(right, vote).difference, sign="+"),
                f"{drawn.cost(size):,.0f}",
            ]
            print(f"| {' | '.join(cells)} |")
    if options.ratings:
        show_ratings(options.ratings, drawn)
    if options.figure:
        draw(options.figure, drawn, ways)


if __name__ == "__main__":
    main()
