"""Installs the wheel into empty environments, and runs there each command of the table in .ci/wheels.md.

`make wheels` runs it. A command with "yes" must succeed; one with "no" must be refused in one line, with a command that
installs what it needs. The extra `eval` is tried a second time with the newest versions of everything, as users get it.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
UV = Path(sys.executable).with_name("uv")
PATIENCE = 120
"""Seconds after which a command fails."""


class Line(NamedTuple):
    """A command of the table, and whether it works, by extra."""

    command: str
    works: dict[str, bool]


def table() -> list[Line]:
    """The lines of the table, with its extras from left to right."""
    page = (ROOT / ".ci/wheels.md").read_text(encoding="utf-8")
    rows = [
        re.split(r" *\| *", row.strip("| "))
        for row in page.splitlines()
        if row.startswith("| ")
    ]
    start = next(index for index, row in enumerate(rows) if row[0] == "command")
    extras = [name.strip("`") for name in rows[start][1:]]
    lines = [row for row in rows[start + 1 :] if row[0].startswith("`reasoner ")]
    return [
        Line(
            row[0].strip("`"),
            {
                extra: {"yes": True, "no": False}[cell]
                for extra, cell in zip(extras, row[1:], strict=True)
            },
        )
        for row in lines
    ]


class Environment:
    """An environment that holds the wheel with one extra, or "none"."""

    def __init__(
        self, folder: Path, wheel: Path, extra: str, *, pinned: bool = True
    ) -> None:
        self.folder = folder / extra
        self.work = folder / f"work-{extra}"
        self.work.mkdir()
        (self.work / "questions.jsonl").write_text(
            '{"question": "What is 3 + 4?"}\n', encoding="utf-8"
        )
        # Nothing of the clone or of the environment around is seen.
        inherited = (
            "HOME",
            "LANG",
            "PIP_",
            "UV_",
            "SSL_",
            "REQUESTS_",
            "HTTP",
            "http",
            "NO_PROXY",
            "no_proxy",
            "TMPDIR",
        )
        self.variables = {
            name: value
            for name, value in os.environ.items()
            if name.startswith(inherited)
        } | {
            "PATH": f"{self.folder / 'bin'}:{UV.parent}:/usr/local/bin:/usr/bin:/bin",
            "VIRTUAL_ENV": str(self.folder),
            **({"UV_CONSTRAINT": str(ROOT / "constraints.txt")} if pinned else {}),
            "REASONER_CACHE": str(folder / "cache"),
        }
        subprocess.run(
            [UV, "venv", "--quiet", "--python", sys.executable, self.folder], check=True
        )
        requirement = (
            f"reasoner-kit{'' if extra == 'none' else f'[{extra}]'} @ {wheel.as_uri()}"
        )
        self.run([str(UV), "pip", "install", "--quiet", requirement]).check_returncode()

    def run(self, command: list[str]) -> "subprocess.CompletedProcess[str]":
        """Run a command here."""
        return subprocess.run(
            command,
            cwd=self.work,
            env=self.variables,
            timeout=PATIENCE,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def fault(self, command: str, *, works: bool) -> str:
        """What is wrong with how a command ends here; empty if it ends as the table says."""
        words = shlex.split(command)
        if works and words[1] in ("serve", "view"):
            return self._fault_of_server(words)
        ended = self.run([str(self.folder / "bin" / words[0]), *words[1:]])
        lines = ended.stderr.splitlines() or [""]
        if works:
            return (
                f"exit code {ended.returncode}: {lines[-1]}" if ended.returncode else ""
            )
        if ended.returncode != 2 or len(lines) > 1:
            return f"exit code {ended.returncode} and {len(lines)} lines where it must be refused: {lines[-1]}"
        named = re.search(r"run `(.*?)`", lines[0])
        if not named:
            return f"no command that installs what is missing: {lines[0]}"
        installed = self.run([*shlex.split(named[1]), "--dry-run"])
        return f"`{named[1]}` fails: {installed.stderr}" if installed.returncode else ""

    def _fault_of_server(self, words: list[str]) -> str:
        """What is wrong with a server that is started, asked once and ended."""
        with subprocess.Popen(
            [self.folder / "bin" / words[0], *words[1:]],
            cwd=self.work,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as server:
            assert server.stdout
            said = []
            for line in server.stdout:
                said.append(line.strip())
                if address := re.match(r"(?:ready +)?(http://\S+)", line):
                    path = "/health" if words[1] == "serve" else ""
                    with urllib.request.urlopen(
                        f"{address[1]}{path}", timeout=PATIENCE
                    ) as reply:
                        said.append(f"it answers {reply.status}")
                    server.send_signal(signal.SIGTERM)
        healthy = any(line.endswith("answers 200") for line in said)
        return "" if healthy else f"exit code {server.returncode}: {said[-1:]}"


UNREACHABLE = "http://127.0.0.1:9"
"""The address of a hub that does not answer."""


def faults_of_newest(folder: Path, wheel: Path, lines: list[Line]) -> Iterator[str]:
    """Each line that fails with `eval` and no constraints, and a benchmark whose error is not about the hub."""
    (folder / "newest").mkdir()
    environment = Environment(folder / "newest", wheel, "eval", pinned=False)
    problems = [
        (line.command, environment.fault(line.command, works=True))
        for line in lines
        if line.works["eval"] and not line.works["none"]
    ]
    environment.variables["HF_ENDPOINT"] = UNREACHABLE
    asked = "reasoner eval gsm8k --engine simulated"
    ended = environment.run(
        [str(environment.folder / "bin/reasoner"), *asked.split()[1:]]
    )
    told = "" if "the hub cannot be reached" in ended.stderr else ended.stderr[-2000:]
    for command, problem in [*problems, (asked, told)]:
        print(f"newest {'wrong' if problem else 'right'}  {command}", flush=True)
        if problem:
            yield f"newest: {command}: {problem}"


INSPECT = """
from inspect_ai import Epochs, Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.scorer import match
from inspect_ai.solver import generate
from reasoner_evals.inspect_provider import StopEpochs

sums = [Sample(input=f"What is {a} + 4?", target=str(a + 4)) for a in range(6)]
[log] = eval(
    Task(dataset=sums, solver=generate(), scorer=match(location="end")),
    model="reasoner/simulated",
    model_args={"engine": "simulated", "strategy": "vote8", "budget": "tokens=4000"},
    display="none",
)
costs = [sample.output.metadata["reasoner"]["cost"]["tokens"] for sample in log.samples]
used = log.stats.model_usage["reasoner/simulated"].total_tokens
assert (log.status, len(costs), used) == ("success", 6, sum(costs)), (log.status, log.error, costs, used)

[log] = eval(
    Task(
        dataset=sums, solver=generate(), scorer=match(location="end"), epochs=Epochs(16, "mode"),
        early_stopping=StopEpochs("beta", "number"),
    ),
    model="reasoner/simulated", model_args={"engine": "simulated"}, max_samples=6, display="none",
)
stopped = log.results.early_stopping
votes = [sum(count for _, count in answers) for answers in stopped.metadata.values()]
run, stops = len(log.samples), len(stopped.early_stops)
assert (log.status, run + stops, len(votes)) == ("success", 96, 6) and sum(votes) <= run < 96, (log.error, run, votes)
assert all("theta is 0.95" in stop.reason for stop in stopped.early_stops), stopped
"""
"""Evaluations by inspect_ai: the tokens are those of the ledger, and a stop rule ends epochs."""


def fault_of_inspect(folder: Path, wheel: Path) -> str:
    """What is wrong with the model provider of inspect_ai, which pins other versions than vLLM's."""
    environment = Environment(folder, wheel, "inspect", pinned=False)
    ended = environment.run([str(environment.folder / "bin/python"), "-c", INSPECT])
    print(
        f"inspect {'wrong' if ended.returncode else 'right'}  an evaluation by inspect_ai",
        flush=True,
    )
    return f"inspect: {ended.stderr[-2000:]}" if ended.returncode else ""


def fault_of_plugin(folder: Path, wheel: Path) -> str:
    """What is wrong with the template of a package of plug-ins, or with its tests."""
    (folder / "plugin").mkdir()
    environment = Environment(folder / "plugin", wheel, "none")
    source = shutil.copytree(ROOT / "examples/plugin", environment.work / "source")
    ended = environment.run(
        [
            str(UV),
            "pip",
            "install",
            "--quiet",
            f"reasoner-example[test] @ {source.as_uri()}",
        ]
    )
    if not ended.returncode:
        ended = environment.run(
            [str(environment.folder / "bin/python"), "-m", "pytest", "-q", str(source)]
        )
    print(
        f"plugin {'wrong' if ended.returncode else 'right'}  the tests of examples/plugin",
        flush=True,
    )
    return (
        f"plugin: {(ended.stdout + ended.stderr)[-2000:]}" if ended.returncode else ""
    )


def faults(folder: Path) -> Iterator[str]:
    """Each line of the table that is not as it says."""
    lines = table()
    subprocess.run(
        [UV, "build", "--quiet", "--wheel", "--out-dir", folder, ROOT], check=True
    )
    [wheel] = folder.glob("*.whl")
    made: Path | None = None
    # The extra with the most commands first: the others read what they are refused to write.
    for extra in sorted(
        lines[0].works, key=lambda extra: -sum(line.works[extra] for line in lines)
    ):
        environment = Environment(folder, wheel, extra)
        for line in lines:
            problem = environment.fault(line.command, works=line.works[extra])
            print(
                f"{extra:<6} {'wrong' if problem else 'right'}  {line.command}",
                flush=True,
            )
            if problem:
                yield f"{extra}: {line.command}: {problem}"
            written = re.search(r" (?:--out|-o) (\S+)", line.command)
            if written and made and not line.works[extra]:
                # With what the command writes beside it, such as a profile.
                for source in made.glob(f"{Path(Path(written[1]).parts[0]).stem}*"):
                    copied = environment.work / source.name
                    if source.is_dir():
                        shutil.copytree(source, copied, dirs_exist_ok=True)
                    else:
                        shutil.copy(source, copied)
        made = made or environment.work
    yield from faults_of_newest(folder, wheel, lines)
    yield from filter(
        None, (fault_of_inspect(folder, wheel), fault_of_plugin(folder, wheel))
    )


def main() -> int:
    """Check the table; the exit code."""
    folder = Path(tempfile.mkdtemp(prefix="reasoner-wheels-"))
    try:
        wrong = list(faults(folder))
    finally:
        shutil.rmtree(folder)
    print(*wrong, sep="\n", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
