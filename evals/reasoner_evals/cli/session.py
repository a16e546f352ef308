"""One sitting of an evaluation: from the lock on its folder to what is said at its end."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reasoner.catalog import build
from reasoner.cli import interrupts
from reasoner.cli.exits import ANSWERED, ENGINE, OTHER, USAGE, code_of, error_line
from reasoner.cli.starting import started
from reasoner.cli.terminal import OutputLost, ReaderLeft, Terminal, own_streams
from reasoner.errors import ReasonerError, TraceError
from reasoner.models.cache import cache_home
from reasoner_evals.cli.choices import Chosen
from reasoner_evals.cli.live import Live, Tally, shown_accuracy
from reasoner_evals.runs.folder import RunFolder
from reasoner_evals.runs.manifest import (
    Drifted,
    begin,
    differences,
    drift_of_machine,
    freeze,
    this_machine,
    write_items,
)
from reasoner_evals.runs.records import Manifest
from reasoner_evals.runs.run import evaluate


@dataclass(frozen=True, slots=True)
class Session:
    """A run to begin, or with `frozen` to go on with; its folder is locked by now."""

    folder: RunFolder
    chosen: Chosen
    frozen: Manifest | None
    command: str
    as_json: bool

    def run(self) -> int:
        """Run it; the exit code. What goes wrong is told in one line, with the way to go on."""
        vllm = type(self.chosen.engine).__module__.startswith("reasoner.engines.vllm")
        log = cache_home() / "engine.log" if vllm else None
        with own_streams(log) as terminal:
            watcher = Live(terminal)
            try:
                with watcher.shown():
                    interrupts.run(lambda: self._evaluate(watcher))
                return self._tell(terminal, watcher)
            except KeyboardInterrupt as interrupt:
                terminal.say("interrupted")
                code = interrupts.code_of(interrupt)
            except ReasonerError as error:
                for line in error.diff if isinstance(error, Drifted) else ():
                    terminal.say(line)
                terminal.say(error_line(error))
                code = _code(error)
            if code != USAGE and self.folder.manifest.exists():
                terminal.say(f"what was finished is kept; go on with: reasoner eval --resume {self.folder.path}")
            if code == ENGINE and log and log.exists() and log.stat().st_size:
                terminal.say(f"vLLM's own output is in {log}")
            return code

    async def _evaluate(self, watcher: Live) -> None:
        chosen = self.chosen
        strategies = [build("strategy", spec) for spec in dict.fromkeys(arm.strategy for arm in chosen.arms)]
        async with started(chosen.engine, chosen.verifier, strategies, watcher):
            watcher.begin(f"evaluating with {chosen.engine.model.name}")
            manifest = self._manifest(watcher)
            watcher.expect(manifest.arms, {task: len(data.items) for task, data in chosen.tasks.items()})
            await evaluate(self.folder, manifest, chosen.tasks, chosen.engine, chosen.verifier, watcher)

    def _manifest(self, watcher: Live) -> Manifest:
        """The manifest of the run: frozen now, or as it was, if the model is still the same."""
        chosen = self.chosen
        if self.frozen is None:
            manifest = freeze(chosen.tasks, chosen.arms, chosen.engine, chosen.prices, command=self.command)
            begin(self.folder, manifest, chosen.tasks)
            return manifest
        if found := differences(self.frozen, self.frozen.model_copy(update={"model": chosen.engine.model})):
            raise Drifted(self.folder, found)
        for what, was, now in drift_of_machine(self.frozen.machine, this_machine()):
            watcher.note(f"note: {what} was {was}, is {now}")
        write_items(self.folder, chosen.tasks)
        return self.frozen

    def _tell(self, terminal: Terminal, watcher: Live) -> int:
        tallies = list(watcher.tallies.values())
        try:
            if self.as_json:
                terminal.give(_document(self.folder.path, tallies))
            else:
                for line in _lines(tallies):
                    terminal.give(line)
        except ReaderLeft:
            pass
        except OutputLost as error:
            terminal.say(error_line(error))
            return OTHER
        finally:
            for name, line in _alarms(tallies):
                terminal.say(f"warning: {name}: {line}: calibrate anew on questions like these")
            terminal.say(f"report: reasoner report {self.folder.path}")
        if failed := sum(tally.errors for tally in tallies):
            what = "1 question" if failed == 1 else f"{failed:,} questions"
            way_out = f"try again with: reasoner eval --resume {self.folder.path}"
            terminal.say(error_line(f"{what} ended in an error and count neither as right nor as wrong: {way_out}"))
            return ENGINE
        return ANSWERED


def _alarms(tallies: list[Tally]) -> Iterator[tuple[str, str]]:
    """The arms whose calibration does not hold, and what says so."""
    for tally in tallies:
        if tally.watch.seen:
            yield from ((tally.arm.name, line) for line in tally.watch.alarms(build("strategy", tally.arm.strategy)))


def _code(error: ReasonerError) -> int:
    """A disk that is full is nothing that the command line can mend."""
    full = isinstance(error, TraceError) and isinstance(error.__cause__, OSError)
    return OTHER if full else code_of(error)


def _lines(tallies: list[Tally]) -> list[str]:
    """One line an arm: its name, how many are right, and what a question cost."""
    width = max(len(tally.arm.name) for tally in tallies)
    lines = []
    for tally in tallies:
        right = f"{tally.right} of {tally.graded} right"
        share = f", {shown_accuracy(tally.accuracy)}" if tally.accuracy else ""
        spent = f", {tally.tokens / tally.done:,.0f} tokens a question" if tally.done else ""
        failed = f", {tally.errors} without a result" if tally.errors else ""
        lines.append(f"{tally.arm.name:<{width}}  {right}{share}{spent}{failed}")
    return lines


def _document(path: Path, tallies: list[Tally]) -> str:
    """The results as one JSON object, in ASCII."""
    arms = []
    for tally in tallies:
        share, low, high = tally.accuracy or (None, None, None)
        arms.append(
            {
                **tally.arm.model_dump(),
                "questions": tally.done,
                "graded": tally.graded,
                "right": tally.right,
                "errors": tally.errors,
                "accuracy": share,
                "low": low,
                "high": high,
                "tokens": tally.tokens,
                "alarms": [line for name, line in _alarms([tally])],
            }
        )
    return json.dumps({"run": str(path), "arms": arms})
