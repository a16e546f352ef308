"""One session of `reasoner tune`: the sizes, the rounds of the race, the judge, and what is written."""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from pydantic import BaseModel

from reasoner import Budget
from reasoner.cli.session import EngineRun, started
from reasoner.cli.terminal import ANSWERED, USAGE
from reasoner.engine import Engine, EngineError
from reasoner.engines.replay import ReplayEngine
from reasoner.errors import TraceError, UsageError
from reasoner.journal.folder import check_free, write_whole, writing
from reasoner.journal.lines import DAMAGED, sealed_line
from reasoner.registry import build, expanded, spec_of
from reasoner.system.files import read_whole
from reasoner.system.printing import printable, without_secrets
from reasoner.verifier import Verifier
from reasoner_evals.calibration.profiles import FIRST, Binning, check_signal
from reasoner_evals.cli.setup import RunOptions, load_tasks, verifier_of
from reasoner_evals.cli.tuning_progress import TuneProgress
from reasoner_evals.runs.arms import Subset
from reasoner_evals.tasks import GradedQuestion, TaskData
from reasoner_evals.tasks.own_files import task_spec
from reasoner_evals.tuning.candidates import (
    PILOT,
    Candidate,
    Kept,
    Sizes,
    baselines,
    free_verifier,
    price_of,
    sized,
    strategies_for,
)
from reasoner_evals.tuning.outcome import RaceOutcome
from reasoner_evals.tuning.page import write
from reasoner_evals.tuning.profile import profile_of
from reasoner_evals.tuning.race import Race, rounds
from reasoner_evals.tuning.rounds import FinishedRound, RoundMeasures, Rounds
from reasoner_evals.tuning.sizes import SIZES, read_tokens
from reasoner_evals.tuning.split import QuestionSplit, apart, split
from reasoner_evals.tuning.verdict import JudgedStrategy, forecasts, frontier, verdict

ANOTHER: Final = "give --out another name"


class _Setup(Kept):
    """What decides a race; kept in its folder."""

    data: str
    judge: str
    task: str
    subset: str
    engine: str
    verifier: str
    strategies: tuple[str, ...]
    budget: str
    spend: int | None
    seed: int


class _KeptRace(BaseModel):
    """What decides a race, and the sizes that it has found."""

    setup: _Setup
    sizes: Sizes


@dataclass(frozen=True, slots=True)
class Tuning:
    """Everything that a race consists of."""

    data: TaskData
    judge: TaskData
    """Those that judge are of this one, often the same."""
    sides: QuestionSplit
    strategies: tuple[str, ...]
    engine: Engine
    verifier: Verifier | None
    goal: int | None
    """Tokens of a question. Without any there is no race: all candidates answer all questions."""
    binning: Binning
    spend: int | None
    seed: int
    out: Path
    options: RunOptions

    @property
    def questions(self) -> int:
        """How many race and judge."""
        return len(self.sides.race) + len(self.sides.judge)

    @property
    def folder(self) -> Path:
        """The folder of the race, beside the settings."""
        return self.out.with_suffix("")

    @property
    def file(self) -> Path:
        """Where the sizes are kept; the first file of a race."""
        return self.folder / "race.json"

    @property
    def decided(self) -> _Setup:
        """What decides the race."""
        source = self.data.source
        return _Setup(
            data=source.data_hash,
            judge=self.judge.source.data_hash,
            task=source.task,
            subset=source.subset,
            engine=without_secrets(spec_of(self.engine)),
            verifier=spec_of(self.verifier) if self.verifier else "",
            strategies=self.strategies,
            budget=str(Budget(tokens=self.goal)),
            spend=self.spend,
            seed=self.seed,
        )


def prepared(
    options: RunOptions,
    *,
    budget: str | None,
    judge_on: str | None,
    total: str | None,
    bins: str,
    seed: int,
    out: Path,
) -> Tuning:
    """The race that the options describe.

    Raises:
        UsageError: an option is out of range or unknown, data cannot be loaded, or there are too few questions.
    """
    goal = None if budget is None else read_tokens(budget, "--budget")
    if out.suffix != ".toml":
        raise UsageError(
            f"--out {out} must be a file that ends in .toml, as in tuned.toml"
        )
    engine = options.to_engine()
    if isinstance(engine, ReplayEngine):
        raise UsageError(
            "--engine replay cannot be tuned, as it samples nothing new: choose another engine"
        )
    [data] = load_tasks(
        [task_spec(options.tasks[0], options.column_pairs)],
        Subset(options.limit),
        unsandboxed=options.unsandboxed,
    ).values()
    free = "" if options.verifier or options.strategies else free_verifier(data.items)
    named = strategies_for(
        options.strategies, rated=options.verifier is not None, free=free
    )
    options = replace(options, verifier=options.verifier or free or None)
    strategies = options.with_sampling(named)
    if goal is None:
        _check_sizes(strategies, total)
    verifier = verifier_of(options, strategies, engine)
    if judge_on is None:
        judge, sides = data, split(data.items)
    else:
        [judge] = load_tasks(
            [task_spec(judge_on, options.column_pairs)],
            Subset(),
            unsandboxed=options.unsandboxed,
        ).values()
        sides = apart(data.items, judge.items)
    return Tuning(
        data=data,
        judge=judge,
        sides=sides,
        strategies=strategies,
        engine=engine,
        verifier=verifier,
        goal=goal,
        binning=Binning.parse(bins),
        spend=None if total is None else read_tokens(total, "--total"),
        seed=seed,
        out=out,
        options=options,
    )


def _check_sizes(strategies: Sequence[str], total: str | None) -> None:
    """Refuse what has no effect, or no size, without --budget. Raises UsageError."""
    missing = [
        spec
        for spec in (expanded("strategy", each) for each in strategies)
        if spec.name != "single" and not spec.options.keys() & SIZES
    ]
    if missing:
        raise UsageError(
            f"{missing[0]} has no size: give --budget, or a vote and a size for each strategy, as in "
            "-s self_consistency:n=16"
        )
    if total is not None:
        raise UsageError(
            "--total has no effect without --budget, as all questions are asked: omit it"
        )


@contextmanager
def locked_race(tuning: Tuning) -> Iterator[Sizes]:
    """A locked folder that holds a race with these settings, or a new one; and the sizes that it has found.

    A new folder goes again where no size was found.

    Raises:
        UsageError: the folder holds another race or other files, or another process writes it.
        TraceError: the file of the race is damaged.
    """
    sizes = _sizes_of(tuning)
    with writing(tuning.folder, tuning.file, create=True):
        yield sizes


def _sizes_of(tuning: Tuning) -> Sizes:
    """The sizes that an earlier session of this race has found. Raises as `locked_race`."""
    if not tuning.file.exists():
        check_free(tuning.folder, ANOTHER)
        return Sizes()
    try:
        line = read_whole(tuning.file)
        kept = _KeptRace.model_validate_json(line)
        if sealed_line(kept) != line:
            raise ValueError(DAMAGED)
    except (OSError, ValueError) as error:
        raise TraceError(
            f"{tuning.file} is damaged, or of another version: {ANOTHER}"
        ) from error
    changed = [
        name for name, value in tuning.decided if value != getattr(kept.setup, name)
    ]
    if changed:
        raise UsageError(
            f"{tuning.folder} holds a race with other settings ({', '.join(changed)}): {ANOTHER}"
        )
    return kept.sizes


class _Raced(NamedTuple):
    """A race that has ended, why it did, the tokens so far, and the names of its rounds."""

    race: Race
    ended: str
    spent: float
    rounds: Sequence[str]


@dataclass(slots=True, kw_only=True)
class TuneRun(EngineRun):
    """A race to begin or to continue; its folder is locked."""

    display: TuneProgress
    setup: Tuning
    sizes: Sizes
    """Those that an earlier session has found."""
    command: str
    as_json: bool = False
    outcome: RaceOutcome | None = field(default=None, init=False)

    def continued(self, code: int) -> int:
        """Say how to continue, where that helps; the exit code."""
        if code != USAGE and self.setup.file.exists():
            self.display.terminal.say("the same command continues the race")
        return code

    async def work(self) -> None:
        """Run the race, judge, and write the outcome."""
        setup, progress = self.setup, self.display
        for note in setup.data.source.notes:
            progress.note(f"note: {note}")
        strategies = [build("strategy", spec) for spec in setup.strategies]
        async with started(setup.engine, setup.verifier, strategies, progress):
            sizes = await self._sizes()
            votes = (each.size for each in sizes.candidates if each.votes)
            check_signal(setup.binning, max(votes, default=FIRST))
            asked = Rounds(
                path=setup.folder,
                data=setup.data,
                engine=setup.engine,
                verifier=setup.verifier,
                verifier_spec=setup.decided.verifier,
                seed=setup.seed,
                command=self.command,
            )
            raced = await self._raced(asked, sizes)
            self.outcome = await self._judged(asked, sizes, raced)
        write(self.outcome)

    async def _sizes(self) -> Sizes:
        """The candidates: sizes that are missing are measured with what the first round and the judge leave."""
        setup, sizes = self.setup, self.sizes
        questions = [item.question for item in setup.sides.race[:PILOT]]
        asked = len(rounds(len(setup.sides.race))[0]) + 2 * len(setup.sides.judge)
        most = (setup.spend or math.inf) - asked * (setup.goal or 0)
        for spec in setup.strategies:
            if spec in sizes.by_strategy:
                continue
            self.display.begin(f"measuring sizes of {printable(spec)}")
            own = await sized(
                spec,
                setup.goal,
                questions,
                setup.engine,
                setup.verifier,
                self.display.note,
                most - sizes.tokens,
            )
            sizes = Sizes(by_strategy={**sizes.by_strategy, spec: own})
            if own.tokens:
                self._keep(sizes)
        self._keep(sizes)
        return sizes

    def _keep(self, sizes: Sizes) -> None:
        kept = _KeptRace(setup=self.setup.decided, sizes=sizes)
        write_whole(self.setup.file, [sealed_line(kept)])

    async def _raced(self, all_rounds: Rounds, sizes: Sizes) -> _Raced:
        """Run the race to its end, or continue it."""
        setup, candidates, progress = self.setup, sizes.candidates, self.display
        specs = [each.spec for each in candidates]
        empty = RoundMeasures.unasked(len(candidates), 0)
        goal = math.inf if setup.goal is None else float(setup.goal)
        race = Race(empty.right, empty.tokens, empty.sequential, goal)
        racing = len(setup.sides.race)
        blocks, parts, groups, spent = (
            rounds(racing) if setup.goal else [range(racing)],
            [empty],
            list[str](),
            sizes.tokens,
        )
        progress.expect(race, specs, racing, spent)
        ended, names = "the questions are used up", list[str]()
        for number, block in enumerate(blocks, 1):
            if len(race.inside) == 1:
                ended = "one candidate is left"
                break
            price = partial(price_of, candidates, race)
            most = setup.spend or race.limit(setup.questions)
            judge = 2 * race.budget * len(setup.sides.judge)
            left = (most - spent - judge) / len(block)
            if number > 1:
                progress.looked(
                    race.thin_out(price, len(blocks) - number + 1, left), spent
                )
            needed, inside = price(race.inside), race.inside
            if needed > left and number == 1 and setup.spend is not None:
                least = spent + judge + needed * len(block)
                raise UsageError(
                    f"--total {most:,.0f} is too little: the first round and the judge need about {least:,.0f} "
                    "tokens; raise it, or name fewer strategies with -s"
                )
            if needed > left and number > 1:
                ended = f"another round would exceed {most:,.0f} tokens"
                break
            progress.round(number, len(blocks), len(block))
            items = tuple(setup.sides.race[at] for at in block)
            names.append(f"round-{number:02}")
            read = await self._asked(all_rounds, names[-1], candidates, inside, items)
            parts.append(read.measured)
            groups += read.groups
            race.right, race.tokens, race.sequential, _ = RoundMeasures.side_by_side(
                parts
            )
            race.groups = groups if all(groups) else None
            race.failed = np.isin(np.arange(len(candidates)), list(read.errors))
            spent += read.drawn
            progress.looked(race.look(), spent, read.errors)
            progress.tell(progress.summary())
            if not race.inside:
                raise EngineError(
                    f"no candidate has a result: {specs[inside[0]]}: {read.errors[inside[0]]}"
                )
        return _Raced(race, ended, spent, names)

    async def _judged(
        self, all_rounds: Rounds, sizes: Sizes, raced: _Raced
    ) -> RaceOutcome:
        """Choose a candidate, and compare it with the baselines on the questions that judge.

        A baseline that these show to be more accurate is chosen in its place.
        """
        setup, candidates, progress, race = (
            self.setup,
            sizes.candidates,
            self.display,
            raced.race,
        )
        specs = [each.spec for each in candidates]
        chosen = race.choice()
        progress.begin(f"judging {specs[chosen]}")
        own = candidates[chosen]
        compared = baselines(candidates, race, chosen, setup.engine)
        if own not in [each for _, each in compared]:
            compared.append(("the choice of the race", own))
        judged = [each for _, each in compared]
        if setup.goal is None:
            judged += [
                each.model_copy(update={"spec": each.arm})
                for who, each in enumerate(candidates)
                if who not in progress.errors
            ]
        asked = tuple(
            dict.fromkeys(Candidate(spec=each.spec, arm=each.spec) for each in judged)
        )
        read = await self._asked(
            replace(all_rounds, data=setup.judge),
            "judge",
            asked,
            list(range(len(asked))),
            setup.sides.judge,
        )
        if len(read.errors) == len(asked):
            raise EngineError(f"the judge has no result: {read.errors[0]}")
        values = {
            each.spec: JudgedStrategy(
                each.spec, *(column[at] for column in read.measured)
            )
            for at, each in enumerate(asked)
        }
        judge = partial(
            verdict,
            baselines=[(name, values[each.spec]) for name, each in compared],
            groups=list(read.groups) if all(read.groups) else None,
        )
        judgement = judge(values[own.spec])
        if better := judgement.better:
            own = next(each for each in judged if each.spec == better.other.spec)
            judgement = judge(better.other)
        progress.begin("writing the profile")
        profile = profile_of(
            all_rounds.calibrated(
                raced.rounds
                if setup.judge is not setup.data
                else [*raced.rounds, "judge"],
            ),
            setup.data.items,
            setup.binning,
            setup.engine.model.name,
            str(setup.folder),
        )
        return RaceOutcome(
            tuning=setup.decided.model_dump(),
            race=race,
            specs=tuple(specs),
            strategy=own.spec,
            verdict=judgement,
            forecast=tuple(forecasts(race, specs, race.budget)),
            frontier=tuple(frontier(race, specs)),
            ended=raced.ended,
            spent=raced.spent + read.drawn,
            everything=float(race.costs[np.isfinite(race.costs)].sum())
            * setup.questions,
            left_out={
                spec: each.left_out
                for spec, each in sizes.by_strategy.items()
                if each.left_out
            },
            model=setup.engine.model.name,
            errors=dict(progress.errors),
            engine=setup.options.named_engine,
            source=setup.data.source,
            judge=setup.judge.source,
            profile=profile,
            out=setup.out,
        )

    async def _asked(
        self,
        all_rounds: Rounds,
        name: str,
        candidates: tuple[Candidate, ...],
        inside: list[int],
        items: tuple[GradedQuestion, ...],
    ) -> FinishedRound:
        """Ask the candidates that are in, and read their results."""
        await all_rounds.ask(name, candidates, inside, items, self.display)
        return all_rounds.read(name, candidates, inside)

    def finish(self) -> int:
        """Show the verdict; the exit code."""
        assert self.outcome is not None
        terminal = self.display.terminal
        if self.as_json:
            terminal.give(json.dumps(self.outcome.document))
        else:
            for line in self.outcome.summary:
                terminal.give(line)
        if not self.display.quiet:
            out = self.setup.out
            terminal.say(f"use it     reasoner solve QUESTION --settings {out}")
            terminal.say(f"page       {out.with_suffix('.html')}")
        return ANSWERED
