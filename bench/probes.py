"""How probes compare with forms on replies of the embedded model, and what a vote gains by them.

    python bench/probes.py replies.jsonl 40 arithmetic gym:chain_sum,seed=7     draws 8 replies a question, probes each
    python bench/probes.py replies.jsonl                                         prints the figures

A line of the file is one reply: what its form says, what its probe says, and what both cost.
"""

import asyncio
import json
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from scipy.stats import binomtest

from reasoner import Question, SamplingParams, solve_many
from reasoner.answers.asking import opening_of, read_probe
from reasoner.engines.vllm import VllmEngine
from reasoner.registry import build
from reasoner.strategy import Plan, prefill, sample
from reasoner.types import Answer

N = 8
PARAMS = SamplingParams(temperature=0.7, max_tokens=128)


@dataclass(frozen=True)
class Line:
    """One reply."""

    task: str
    question: str
    gold: str
    text: str
    ended: bool
    tokens: int
    form: str | None
    probe: str | None
    probe_tokens: int
    probe_prompt: int
    probe_cached: int


@dataclass(frozen=True)
class Probing:
    """Draws `N` replies, and probes each of them, also those with a form."""

    task: str
    golds: dict[str, str]
    out: Any
    uses_verifier: ClassVar[bool] = False

    def plan(self, question: Question) -> Plan[Answer | None]:
        """A line for each reply."""
        drawn = yield from sample(question.prompt, n=N, params=PARAMS, answers=False)
        opening = opening_of(question.space)
        assert opening
        asked = SamplingParams(
            temperature=0.0, max_tokens=opening.tokens, stop=opening.stop
        )
        for chain in drawn:
            form = None if chain.truncated else question.space.read(chain.text)
            ended = chain.prompt.then(chain)
            closed = yield from prefill(ended, opening.text, thinking="close")
            [reply] = yield from sample(closed, params=asked, answers=False)
            given = read_probe(question.space, reply.text, opening, cut=reply.truncated)
            line = Line(
                self.task,
                question.id,
                self.golds[question.id],
                chain.text,
                chain.ended,
                chain.usage.generated_tokens,
                form.key if form else None,
                given.key if given else None,
                reply.usage.generated_tokens,
                reply.usage.prompt_tokens - reply.usage.cached_tokens,
                reply.usage.cached_tokens,
            )
            print(json.dumps(asdict(line)), file=self.out, flush=True)
        return None


async def draw(out: Path, questions: int, tasks: list[str]) -> None:
    """Write the replies of some questions of each task."""
    engine = VllmEngine()
    await engine.start()
    try:
        with out.open("a", encoding="utf-8") as lines:
            for task in tasks:
                items = build("task", task).load().items[:questions]
                golds = {}
                for item in items:
                    answer = item.question.space.read(rf"\boxed{{{item.gold}}}")
                    golds[item.question.id] = answer.key if answer else item.gold
                await solve_many(
                    [item.question for item in items],
                    Probing(task, golds, lines),
                    engine,
                )
    finally:
        await engine.close()


def interval(right: int, total: int) -> str:
    """A share with its 95 % interval."""
    if not total:
        return "none"
    low, high = binomtest(right, total).proportion_ci(method="wilson")
    return f"{right / total:.3f} [{low:.3f}, {high:.3f}] of {total:,}"


def show(path: Path) -> None:
    """Print agreement, accuracy of votes, and costs."""
    lines = [
        Line(**json.loads(line))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    for task in dict.fromkeys(line.task for line in lines):
        rows = [line for line in lines if line.task == task]
        formed = [line for line in rows if line.form is not None]
        ended = [line for line in rows if line.ended]
        print(
            f"{task}: {len(rows):,} replies, {len(formed):,} with a form, {len(rows) - len(ended):,} cut"
        )
        print(
            f"  probe agrees with form   {interval(sum(x.form == x.probe for x in formed), len(formed))}"
        )
        print(
            f"  form right               {interval(sum(x.form == x.gold for x in formed), len(formed))}"
        )
        print(
            f"  probe right, with form   {interval(sum(x.probe == x.gold for x in formed), len(formed))}"
        )
        rest = [line for line in ended if line.form is None]
        print(
            f"  probe right, no form     {interval(sum(x.probe == x.gold for x in rest), len(rest))}"
        )
        cut = [line for line in rows if not line.ended]
        print(
            f"  probe right, cut         {interval(sum(x.probe == x.gold for x in cut), len(cut))}"
        )
        prompt, cached = (
            sum(x.probe_prompt for x in rows),
            sum(x.probe_cached for x in rows),
        )
        generated = sum(x.probe_tokens for x in rows)
        print(
            f"  a probe: {generated / len(rows):.1f} generated, {prompt / len(rows):.1f} computed prompt tokens; "
            f"{cached / max(1, prompt + cached):.1%} of its prompt cached; a reply: "
            f"{sum(x.tokens for x in rows) / len(rows):.1f} tokens"
        )
        for name, way in WAYS.items():
            print(
                f"  vote, {name}: "
                + ", ".join(voted(rows, way, n) for n in (4, 6, 7, N))
            )


def by_forms(_: Line) -> bool:
    """No reply is probed."""
    return False


def by_probes(reply: Line) -> bool:
    """Replies that ended without a form are probed."""
    return reply.form is None and reply.ended


def by_all_probes(reply: Line) -> bool:
    """Cut replies are probed too."""
    return reply.form is None


WAYS = {
    "forms": by_forms,
    "forms, probes": by_probes,
    "forms, probes, cut too": by_all_probes,
}


def voted(rows: list[Line], probed: Callable[[Line], bool], n: int) -> str:
    """Accuracy and tokens a question of the vote over `n` replies, averaged over 20 subsets."""
    questions, source = defaultdict(list), random.Random(n)
    for row in rows:
        questions[row.question].append(row)
    right = tokens = total = 0
    for replies in questions.values():
        for _ in range(20 if n < N else 1):
            chosen = source.sample(replies, min(n, len(replies)))
            asked = [reply for reply in chosen if probed(reply)]
            votes = Counter(
                reply.probe if probed(reply) else reply.form for reply in chosen
            )
            del votes[None]
            if not votes and probed is by_probes:
                # The fallback: where no reply has an answer, those that were cut are probed.
                asked += [reply for reply in chosen if not reply.ended]
                votes = Counter(
                    reply.probe
                    for reply in chosen
                    if not reply.ended and reply.probe is not None
                )
            right += bool(votes) and votes.most_common(1)[0][0] == chosen[0].gold
            tokens += sum(x.tokens for x in chosen) + sum(
                x.probe_tokens + x.probe_prompt for x in asked
            )
            total += 1
    return f"n={n} {right / total:.3f} at {tokens / total:.0f} tokens"


if __name__ == "__main__":
    if len(sys.argv) > 2:
        asyncio.run(draw(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
    else:
        show(Path(sys.argv[1]))
