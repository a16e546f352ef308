"""One session of an evaluation: from the start of the engine to the results."""

import json
from dataclasses import dataclass
from pathlib import Path

from reasoner.cli.session import EngineRun, started
from reasoner.cli.terminal import (
    ANSWERED,
    ENGINE,
    OTHER,
    USAGE,
    OutputLost,
    ReaderLeft,
    wrapped,
)
from reasoner.errors import ReasonerError
from reasoner.registry import build
from reasoner.system.printing import counted
from reasoner_evals.cli.progress import EvalProgress, TaskTally, shown_accuracy
from reasoner_evals.cli.setup import RunSetup
from reasoner_evals.runs.arms import Subset
from reasoner_evals.runs.manifest import (
    DriftError,
    differences,
    freeze,
    machine_differences,
    this_machine,
    write_items,
    write_manifest,
)
from reasoner_evals.runs.records import Manifest, RunFolder
from reasoner_evals.runs.run import evaluate


@dataclass(slots=True, kw_only=True)
class EvalRun(EngineRun):
    """A run to begin, or with `frozen` to resume; its folder is locked."""

    display: EvalProgress
    folder: RunFolder
    setup: RunSetup
    frozen: Manifest | None
    command: str
    as_json: bool = False

    def failed(self, error: ReasonerError) -> int:
        """Show an error in one line, after what has changed; the exit code."""
        for line in error.diff if isinstance(error, DriftError) else ():
            self.display.terminal.say(line)
        return EngineRun.failed(self, error)

    def continued(self, code: int) -> int:
        """Say what is kept, and how to continue, where that helps; the exit code."""
        if code != USAGE and self.folder.manifest.exists():
            resume = f"reasoner eval --resume {self.folder.path}"
            kept = " and ".join(self.display.kept) or "nothing yet"
            self.display.terminal.say(f"kept: {kept}; continue with: {resume}")
        return code

    async def work(self) -> None:
        """Evaluate the arms."""
        setup, progress = self.setup, self.display
        for source in (data.source for data in setup.tasks.values()):
            for note in source.notes:
                progress.note(f"note: {note}")
        strategies = [
            build("strategy", spec)
            for spec in dict.fromkeys(arm.strategy for arm in setup.arms)
        ]
        async with started(setup.engine, setup.verifier, strategies, progress):
            progress.begin(f"evaluating with {setup.engine.model.name}")
            manifest = self._manifest()
            groups = {
                task: {item.question.id: item.group for item in data.items}
                for task, data in setup.tasks.items()
            }
            progress.expect(
                manifest.arms, groups, thinks=setup.engine.model.thinking is not None
            )
            await evaluate(
                self.folder,
                manifest,
                setup.tasks,
                setup.engine,
                setup.verifier,
                progress,
            )

    def _manifest(self) -> Manifest:
        """The manifest of a new run, or the resumed run's if the model is still the same."""
        setup = self.setup
        if self.frozen is None:
            manifest = freeze(
                setup.tasks,
                setup.arms,
                setup.engine,
                setup.prices,
                command=self.command,
                reuse=setup.reuse,
            )
            write_manifest(self.folder, manifest)
            write_items(self.folder, setup.tasks)
            return manifest
        if changed := differences(
            self.frozen, self.frozen.model_copy(update={"model": setup.engine.model})
        ):
            raise DriftError(self.folder, changed)
        for part, before, now in machine_differences(
            self.frozen.machine, this_machine()
        ):
            self.display.note(f"note: {part} was {before}, is {now}")
        write_items(self.folder, setup.tasks)
        return self.frozen

    def finish(self) -> int:
        """Show the results; the exit code."""
        terminal, tallies = self.display.terminal, list(self.display.tallies.values())
        try:
            for name, text in (
                [("", _document(self.folder.path, tallies))]
                if self.as_json
                else _lines(tallies)
            ):
                folded = terminal.out.isatty() and not self.as_json
                for line in (
                    # Columns before the further lines of an arm on a terminal
                    wrapped(text, 4, name).split("\n") if folded else [name + text]
                ):
                    terminal.give(line)
        except ReaderLeft:
            pass
        except OutputLost as error:
            terminal.fail(error)
            return OTHER
        finally:
            if not self.display.quiet:
                terminal.say(self._next_step())
        if failed := sum(tally.errors for tally in tallies):
            retry = f"try again with: reasoner eval --resume {self.folder.path}"
            terminal.fail(
                f"{counted(failed, 'question')} ended in an error, counted neither as right nor as wrong: {retry}"
            )
        if unrated := _unrated(tallies):
            terminal.fail(unrated)
        return ENGINE if failed else OTHER if unrated else ANSWERED

    def _next_step(self) -> str:
        [subset, *_] = [
            Subset.parse(data.source.subset) for data in self.setup.tasks.values()
        ]
        if subset.shard:
            shards = counted(subset.shard.count, "shard")
            return f"after the end of {shards}, in one folder: reasoner report FOLDER"
        return f"report: reasoner report {self.folder.path}"


def _unrated(tallies: list[TaskTally]) -> str:
    """The arms in which not one question got a rating, and why; empty if there is none."""
    arms = [
        tally for tally in tallies if tally.done and len(tally.unrated) == tally.done
    ]
    if not arms:
        return ""
    names = ", ".join(tally.arm.name for tally in arms)
    return f"{names}: no question was rated, so the verifier had no effect; of the first, {arms[0].unrated[0]}"


def _lines(tallies: list[TaskTally]) -> list[tuple[str, str]]:
    """Of each arm its name, and how many answers are right, with the tokens and sequential tokens per question."""
    width = max(len(tally.arm.name) for tally in tallies)
    lines = []
    for tally in tallies:
        right = f"{tally.right} of {tally.graded} right"
        share = f", {shown_accuracy(tally.accuracy)}" if tally.accuracy else ""
        spent = f", {tally.spent}" if tally.done else ""
        # The least share of probes that is shown
        if (share_probed := tally.probe_tokens / max(tally.tokens, 1)) >= 0.0005:
            spent += f", {share_probed:.1%} of its tokens by probes"
        failed = f", {tally.errors} without a result" if tally.errors else ""
        lines.append((f"{tally.arm.name:<{width}}  ", f"{right}{share}{spent}{failed}"))
    return lines


def _document(path: Path, tallies: list[TaskTally]) -> str:
    arms = []
    for tally in tallies:
        share, low, high = tally.accuracy or (None, None, None)
        arms.append(
            {
                **tally.arm.model_dump(),
                "questions": tally.done,
                **{
                    name: getattr(tally, name)
                    for name in ("graded", "right", "errors", "tokens", "probe_tokens")
                },
                "sequential_tokens": tally.sequential,
                "acc": share,
                "acc_low": low,
                "acc_high": high,
            }
        )
    return json.dumps({"run": str(path), "arms": arms})
