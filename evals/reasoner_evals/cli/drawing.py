"""The sitting behind `reasoner calibrate`: an evaluation whose results are told by the profile that is made of it."""

from dataclasses import dataclass

from reasoner.cli.exits import ANSWERED, ENGINE, error_line
from reasoner.cli.terminal import Terminal
from reasoner_evals.cli.live import Live
from reasoner_evals.cli.session import Session


@dataclass(frozen=True, slots=True)
class Drawing(Session):
    """A run to begin or to go on with; its folder is locked by now."""

    def _tell(self, terminal: Terminal, watcher: Live) -> int:
        failed = sum(tally.errors for tally in watcher.tallies.values())
        terminal.say(f"run: {self.folder.path}")
        if not failed:
            return ANSWERED
        what = "1 question" if failed == 1 else f"{failed:,} questions"
        terminal.say(
            error_line(
                f"{what} ended in an error: try again with `reasoner eval --resume {self.folder.path}`, and make the "
                f"profile of what there is with `reasoner calibrate --from {self.folder.path}`"
            )
        )
        return ENGINE
