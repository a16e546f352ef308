"""Which strategy for which situation: two of them, with what they cost, when they lose, and what was measured."""

from dataclasses import dataclass
from textwrap import fill
from typing import Final, Literal

import click

from reasoner.cli.look import Command

Answers = Literal["short", "free", "program"]
Goal = Literal["tokens", "latency"]
WIDTH: Final = 79


@dataclass(frozen=True, slots=True)
class Advice:
    """A strategy for a situation: its spec, what it costs, when it loses, what was measured.

    In a cost, t is the mean length of a reply and p that of the prompt, whose other copies come from the cache.
    """

    spec: str
    cost: str
    loses: str
    measured: str


SETTLED: Final = (
    "self_consistency(n=64,stop=first_of(rules=[beta(theta=0.9),no_majority]))"
)
FIRST: Final = (
    "measure `single` first: on 50 sums of the embedded model it has the 84 % of a "
    "vote of 16, at 7 % of its tokens"
)
ADVICE: Final[dict[str, tuple[Advice, Advice]]] = {
    "short answers, the model thinks, tokens": (
        Advice(
            "self_consistency(n=64,stop=predict)",
            "p + 64 t at most, often a quarter of that",
            "where short chains agree on what long ones do not say; over servers that cannot be probed",
            "AIME 2024, Qwen3-8B: 81.1 % at 220k tokens; the vote of 64: 80.6 % at 910k",
        ),
        Advice(
            "escalate",
            "two replies without thinking; where they differ, one with",
            "where cheap replies are mostly wrong: two agree by chance (n=3 repairs most of it)",
            "simulated law: 89.5 % at 392 tokens, always thinking 89.5 % at 531",
        ),
    ),
    "short answers, the model thinks, latency": (
        Advice(
            f"parallel_probe(stop={SETTLED.partition('stop=')[2]}",
            "as the vote, and some 20 tokens for each probe",
            "over servers that cannot continue a reply by its tokens",
            "AIME 2024, Qwen3-8B: 81.1 % after 11.9k sequential tokens; the vote of 64: 80.6 % after 29.5k",
        ),
        Advice(
            "short_m_at_k:k=9,m=3",
            "p + 9 t at most; waits for the third shortest",
            "on models that do not think: their shortest replies are often wrong",
            "embedded model, sums: 36 % where a vote has 86 %",
        ),
    ),
    "short answers, tokens": (
        Advice(
            "self_consistency(n=40,stop=beta,order=launch)",
            "p + 40 t at most, often a fifth of that",
            "where most samples are wrong in the same way: no vote helps",
            "MedQA, gpt-4o-mini: 75.0 % at 1.3k tokens; the vote of 40: 74.9 % at 6.3k",
        ),
        Advice(
            "auto",
            "what its profile says; without one, a vote that stops when its lead is safe",
            "on questions unlike those of its calibration: its alarms tell",
            'docs/controller.md, "When it pays"',
        ),
    ),
    "short answers, latency": (
        Advice(
            SETTLED.replace("64", "40"),
            "p + 40 t at most, all at once; ends with the shorter half",
            "on an engine that cannot run so many at once: set window",
            "MedQA, gpt-4o-mini: 74.9 % after 170 sequential tokens; the vote of 40: 74.9 % after 400",
        ),
        Advice(
            "self_consistency:n=8",
            "p + 8 t; waits for the longest",
            "where eight samples are too few to find the majority",
            "embedded model, sums: 82.3 % at 427 tokens; greedy 84.0 % at 59",
        ),
    ),
    "short answers, a verifier": (
        Advice(
            "best_of_n:n=8,selector=weighted",
            "p + 8 t, and 8 ratings, each of them about a reply",
            "where ratings cost as much as samples, at equal tokens, unless the verifier is good",
            "embedded model, sums, `prm`: 86.7 % at 637 tokens; the vote of 8: 82.3 % at 427",
        ),
        Advice(
            "rebase:n=8",
            "some 8 paths, each step rated",
            "with a verifier that was fitted on whole answers: it cannot rate steps",
            "embedded model, sums: 82 % where the vote has 86 % at fewer tokens",
        ),
    ),
    "free answers": (
        Advice(
            "universal:n=8",
            "p + 8 t, and one reply that reads them all",
            "with small models, which cannot compare long texts",
            "embedded model, sums: 74 % where a vote has 86 %",
        ),
        Advice(
            "swiss:n=8",
            "p + 8 t, and 6 short comparisons for each candidate",
            "with small models: they cannot tell which of their replies is better",
            "the embedded model in pairs has the 56 % of one sample",
        ),
    ),
    "free answers, a verifier": (
        Advice(
            "best_of_n:n=8",
            "p + 8 t, and 8 ratings",
            "where the verifier rates style: look at the worst rated right replies first",
            "embedded model, sums, `prm`, 5 samples: 78 % where the vote has 86 %",
        ),
        Advice(
            "swiss:n=8,by=verifier",
            "p + 8 t, and up to 48 comparisons of two tokens' probability",
            "with a judge that prefers the first of two: both orders are asked, and a tie costs the pair",
            "no figure on a judge that is larger than the model",
        ),
    ),
    "programs": (
        Advice(
            "best_of_n:n=8",
            "p + 8 t, and 8 runs of the tests (`--verifier code:tests=shown`)",
            "where the question shows no tests, and the model writes wrong ones",
            "no figure here: the embedded model writes no programs",
        ),
        Advice(
            "self_consistency(n=8,of=code_interpreter)",
            "p + 8 t; the programs run in the sandbox",
            "on questions that no computation answers",
            "no figure here: the embedded model writes no programs",
        ),
    ),
}
"""By situation: the strategy to try first, and the second one."""


def situation(answers: Answers, goal: Goal, *, thinks: bool, verifier: bool) -> str:
    """The key of `ADVICE`."""
    if answers == "program":
        return "programs"
    if verifier and not thinks:
        return f"{answers} answers, a verifier"
    if answers == "free":
        return "free answers"
    return (
        f"short answers, the model thinks, {goal}"
        if thinks
        else f"short answers, {goal}"
    )


@click.command("advise", cls=Command, heading="Look")
@click.option(
    "--answers",
    type=click.Choice(["short", "free", "program"]),
    default="short",
    show_default=True,
    help="Kind of answers: short and comparable, free text, or programs.",
)
@click.option("--thinks", is_flag=True, help="Model that thinks before it answers.")
@click.option(
    "--verifier",
    is_flag=True,
    help="Verifier at hand: a reward model, a judge or tests.",
)
@click.option(
    "--for",
    "goal",
    type=click.Choice(["tokens", "latency"]),
    default="tokens",
    show_default=True,
    help="Minimize total tokens or waiting time.",
)
def command(answers: Answers, *, thinks: bool, verifier: bool, goal: Goal) -> None:
    """Recommend two strategies for a situation, with cost and evidence.

    In costs, t is the mean length of a reply and p the length of the prompt. Copies of the prompt come from the cache.
    """
    click.echo(fill(FIRST, WIDTH))
    for advice in ADVICE[situation(answers, goal, thinks=thinks, verifier=verifier)]:
        click.echo(f"\n-s '{advice.spec}'")
        for title in ("cost", "loses", "measured"):
            indent = " " * 11
            click.echo(
                fill(
                    getattr(advice, title),
                    WIDTH,
                    initial_indent=f"  {title:<9}",
                    subsequent_indent=indent,
                )
            )
