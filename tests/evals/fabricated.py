"""Run folders written from simulated laws: what is right how often is known, and no model is asked."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reasoner.budget import Cost
from reasoner.models.info import ModelInfo
from reasoner.trace.replies import GradeStatus
from reasoner.types import EndedBy
from reasoner_evals.runs.arms import file_part
from reasoner_evals.runs.records import (
    Arm,
    AskedItem,
    GradedAnswer,
    ItemRecord,
    ItemStatus,
    Machine,
    Manifest,
    PooledReply,
    ReplyStatus,
    RunFolder,
)
from reasoner_evals.tasks.data import Source

TASK = "arithmetic"
SMALL = ModelInfo(
    "small-135m",
    context=2048,
    parameters=1_000_000,
    layers=2,
    heads=2,
    kv_heads=2,
    head_dim=8,
)
PROMPT, CACHED = 40, 32
"""Tokens of a prompt, and how many of them every reply but a question's first finds in the cache."""
RATING = 5
"""Sequential tokens of a verifier's ratings, after the longest reply."""


@dataclass(frozen=True, slots=True)
class Law:
    """How replies come out. A question's chance is drawn from Beta(`a`, `b`), the same for all arms and models."""

    a: float = 2.0
    b: float = 2.0
    wrong_answers: int = 3
    no_answer: float = 0.0
    truncated: float = 0.0
    scored_apart: float = 0.25
    """How much higher a right reply is rated, on average."""
    fallback: float = 0.0
    """How often an answer is not stated, and found by a probe."""
    lift: float = 0.0
    """Added to the chance of every question."""


PLAIN = Law()


@dataclass(frozen=True, slots=True)
class Fake:
    """An arm to fabricate. Without a `pool` it draws `replies`."""

    strategy: str = "self_consistency"
    pool: int = 0
    rule: str = ""
    verifier: str = ""
    budget: str = ""
    seed: int = 0
    replies: int = 1
    task: str = TASK
    law: Law = PLAIN
    finished: int | None = None
    """How many of its questions are done; all where None."""
    errors: int = 0
    """This many questions, from the first, ended in an error."""
    ends: tuple[EndedBy, ...] = ("strategy",)
    """Who ends its questions, in turn; what the one at place i ends draws i replies fewer."""
    sure: Law | None = None
    """The law that its confidences go by: calibrated for a single reply where it is `law`. None states none."""

    @property
    def folder(self) -> str:
        """The arm's name."""
        parts = (
            self.task,
            self.strategy,
            *filter(None, [self.budget]),
            f"seed{self.seed}",
        )
        return ".".join(file_part(part) for part in parts)


GREEDY = Fake("single")
VOTE = Fake("self_consistency", pool=8, rule="majority")
BEST = Fake("best_of_n", pool=8, rule="best", verifier="orm")


def fabricate(
    path: Path,
    arms: Sequence[Fake] = (GREEDY, VOTE),
    *,
    questions: int = 60,
    seed: int = 0,
    groups: int = 0,
    shareable: bool = True,
    graded: bool = True,
    model: ModelInfo = SMALL,
    prices: dict[str, float] | None = None,
    edition: str = "",
) -> Path:
    """Write a run's folder and give it back; `edition` changes the texts of the questions, and nothing else."""
    folder = RunFolder(path)
    path.mkdir(parents=True)
    tasks = sorted({arm.task for arm in arms})
    manifest = Manifest(
        created="2026-01-01T00:00:00Z",
        command="reasoner eval arithmetic",
        engine="simulated",
        model=model,
        sources=tuple(_source(task, questions, edition, shareable) for task in tasks),
        arms=tuple(_arm(arm) for arm in arms),
        prices=prices,
        machine=Machine(
            python="3.11",
            system="Linux",
            cores=2,
            memory_gib=8.0,
            accelerators=(),
            packages={"reasoner-kit": "0"},
        ),
    )
    folder.manifest.write_text(manifest.model_dump_json(), encoding="utf-8")
    items = [
        _item(task, number, groups, edition)
        for task in tasks
        for number in range(questions)
    ]
    _write(folder.items, (item.model_dump_json() for item in items))
    if graded:
        _write(
            folder.verdicts,
            (one.model_dump_json() for item in items for one in _verdicts(item)),
        )
    for arm in arms:
        done = questions if arm.finished is None else arm.finished
        where = folder.arm(arm.folder)
        where.path.mkdir(parents=True)
        _write(
            where.journal,
            (record(arm, number, seed).model_dump_json() for number in range(done)),
        )
    return path


def question_id(number: int) -> str:
    return f"q{number:06d}"


def chance(law: Law, number: int, seed: int = 0) -> float:
    """How often a reply to a question is right, where it holds an answer."""
    return min(
        1.0,
        random.Random(f"chance {seed} {number}").betavariate(law.a, law.b) + law.lift,
    )


def record(arm: Fake, number: int, seed: int = 0) -> ItemRecord:
    """A finished question, as the law and the seed have it."""
    source = random.Random(
        f"{seed} {arm.strategy} {arm.task} {arm.budget} {arm.seed} {number}"
    )
    if number < arm.errors:
        return _ended(
            number, "error", (), arm, Cost(prompt_tokens=PROMPT, requests=1, flops=0)
        )
    replies = tuple(
        _reply(arm, number, index, seed, source)
        for index in range(arm.pool or arm.replies - number % len(arm.ends))
    )
    prompt = sum(one.prompt_tokens for one in replies)
    generated = sum(one.generated_tokens for one in replies)
    cost = Cost(
        prompt_tokens=prompt,
        cached_tokens=sum(one.cached_tokens for one in replies),
        generated_tokens=generated,
        verifier_tokens=sum(one.verifier_tokens for one in replies),
        cancelled_tokens=source.randrange(3),
        requests=len(replies),
        samples=len(replies),
        flops=2 * SMALL.parameters * (prompt + generated),
        seconds=generated / 100,
        sequential_tokens=max((one.generated_tokens for one in replies), default=0)
        + (RATING if arm.verifier else 0),
    )
    status: ItemStatus = (
        "answered" if any(one.status == "read" for one in replies) else "no_answer"
    )
    if all(one.status == "truncated" for one in replies):
        status = "truncated"
    found = _ended(number, status, replies, arm, cost)
    ended_by = arm.ends[number % len(arm.ends)]
    confidence = chance(arm.sure, number, seed) if arm.sure else None
    asked = sum(one.rule == "last" for one in replies)
    probed = Cost(
        prompt_tokens=4 * asked, cached_tokens=36 * asked, generated_tokens=6 * asked
    )
    update = {
        "ended_by": ended_by,
        "reason": f"by {ended_by}",
        "confidence": confidence,
        "probed": probed,
    }
    return found.model_copy(update=update)


def _ended(
    number: int,
    status: ItemStatus,
    replies: tuple[PooledReply, ...],
    arm: Fake,
    cost: Cost,
) -> ItemRecord:
    answer, share = _chosen(replies, arm.rule)
    rule = next((one.rule for one in replies if answer and one.answer == answer), "")
    error = "the engine died" if status == "error" else ""
    return ItemRecord(
        question_id=question_id(number),
        status=status,
        answer=answer,
        key=answer,
        rule=rule,
        share=share,
        ended_by="error" if error else "strategy",
        reason="done",
        error=error,
        cost=cost,
        pool=replies,
    )


def _chosen(replies: Sequence[PooledReply], rule: str) -> tuple[str, float]:
    read = [one for one in replies if one.status == "read"]
    if not read:
        return "", 0.0
    weights: Counter[str] = Counter()
    for one in read:
        weights[one.answer] += one.score if rule == "weighted" and one.score else 1  # type: ignore[assignment]
    best = (
        max(read, key=lambda one: one.score or 0.0).answer
        if rule == "best"
        else max(weights, key=weights.__getitem__)
    )
    return best, weights[best] / sum(weights.values())


def _reply(
    arm: Fake, number: int, index: int, seed: int, source: random.Random
) -> PooledReply:
    law = arm.law
    fate = source.random()
    status: ReplyStatus = "read"
    if fate < law.no_answer + law.truncated:
        status = "no_answer" if fate < law.no_answer else "truncated"
    right = source.random() < chance(law, number, seed)
    answer = (
        gold(number)
        if right
        else f"{gold(number)}{source.randrange(law.wrong_answers) + 1}"
    )
    # Of a source of its own, so that all else stays as it is without fallbacks.
    rule = (
        "last"
        if random.Random(f"rule {arm.folder} {number} {index} {seed}").random()
        < law.fallback
        else "form"
    )
    score = (
        min(1.0, max(0.0, source.gauss(0.4 + law.scored_apart * right, 0.2)))
        if arm.verifier
        else None
    )
    return PooledReply(
        index=index,
        status=status,
        answer=answer if status == "read" else "",
        key=answer if status == "read" else "",
        rule=rule if status == "read" else "",
        prompt_tokens=PROMPT if index == 0 else PROMPT - CACHED,
        cached_tokens=0 if index == 0 else CACHED,
        generated_tokens=source.randrange(20, 80),
        verifier_tokens=source.randrange(5, 15) if arm.verifier else 0,
        score=score if status == "read" else None,
    )


def gold(number: int) -> str:
    return str(7000 + number)


def _verdicts(item: AskedItem) -> Iterator[GradedAnswer]:
    answers: list[tuple[str, GradeStatus]] = [(item.gold, "right")]
    answers += [(f"{item.gold}{wrong}", "wrong") for wrong in range(1, 10)]
    for answer, status in answers:
        yield GradedAnswer(
            task=item.task,
            question_id=item.question_id,
            answer=answer,
            status=status,
            grader="reference@1",
        )


def _item(task: str, number: int, groups: int, edition: str) -> AskedItem:
    return AskedItem(
        task=task,
        question_id=question_id(number),
        text=f"What is {number} + 7000?{edition}",
        gold=gold(number),
        group=f"family {number % groups}" if groups else "",
    )


def _source(task: str, items: int, edition: str, shareable: bool) -> Source:
    return Source(
        task=task,
        origin="made on the spot",
        data_hash=f"{items}{edition}",
        prompt="plain@1",
        prompt_hash="00",
        licence="CC0",
        items=items,
        subset="all",
        shareable=shareable,
    )


def _arm(fake: Fake) -> Arm:
    names = ("task", "strategy", "verifier", "budget", "seed", "pool", "rule")
    return Arm.model_validate(
        {"name": fake.folder, **{name: getattr(fake, name) for name in names}}
    )


def _write(path: Path, lines: Iterator[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)
