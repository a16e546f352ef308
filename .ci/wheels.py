"""Installs the wheel into empty environments, and types there what README and the tour say, as a new user does.

`make wheels` runs it: README's commands and those of the tour with the newest versions of everything, as users get
them, and more commands with the versions of constraints.txt. Each must succeed. `make` is left to the gate, which runs
it; a command that needs vLLM is asked of the simulated engine, as README says.
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

ROOT = Path(__file__).resolve().parents[1]
UV = Path(sys.executable).with_name("uv")
PATIENCE = 120
"""Seconds after which a command fails."""
MORE = """
reasoner doctor
reasoner list strategies
reasoner solve "What is 3 + 4?" --trace solved.jsonl
reasoner trace solved.jsonl
reasoner batch questions.jsonl -o answers.jsonl
reasoner batch questions.jsonl -o answers.csv
reasoner batch questions.jsonl -o answers.parquet
reasoner serve
reasoner eval arithmetic --limit 12 -s single -s best_of_n:n=4 --shard 1/2 --out first/1
reasoner eval arithmetic --limit 12 -s single -s best_of_n:n=4 --shard 2/2 --out first/2
reasoner report first
reasoner view first
reasoner compare first:arithmetic.single first:arithmetic.best_of_n-n4
reasoner tune arithmetic --limit 40 -s self_consistency:n=16 --out tuned.toml
reasoner runs grade first/1
reasoner runs export first --out first.csv
reasoner runs export first --out first.parquet
reasoner solve "What is 3 + 4?" -s auto:profile=tuned.profile.json
"""
"""What else works without a model and without an extra, in this order."""


def commands_of(page: str) -> list[str]:
    """The commands of the blocks of a page, in their order, and what it exports."""
    blocks = re.findall(
        r"^```(?:console|bash)\n(.*?)^```", page, re.MULTILINE | re.DOTALL
    )
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith(("reasoner ", "export "))]


class Environment:
    """An environment that holds the wheel, with an extra or none, and a folder `work` to type in."""

    def __init__(
        self, folder: Path, wheel: Path, extra: str = "", *, pinned: bool = True
    ) -> None:
        self.folder, self.work = folder / "environment", folder / "work"
        self.work.mkdir(parents=True)
        shutil.copy(ROOT / "examples/questions.jsonl", self.work)
        shutil.copytree(ROOT / "examples", self.work / "examples")
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
            "REASONER_SERVE_PORT": "0",
        }
        subprocess.run(
            [UV, "venv", "--quiet", "--python", sys.executable, self.folder], check=True
        )
        requirement = f"reasoner-kit{f'[{extra}]' if extra else ''} @ {wheel.as_uri()}"
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

    def fault(self, command: str) -> str:
        """What is wrong with how a command ends here; empty if it succeeds."""
        words = shlex.split(command, comments=True)
        if words[0] == "export":
            self.variables |= dict(word.split("=", 1) for word in words[1:])
            return ""
        if words[1] in ("serve", "view"):
            return self._fault_of_server(words)
        ended = self.run([str(self.folder / "bin" / words[0]), *words[1:]])
        last = (ended.stderr.splitlines() or [""])[-1]
        return f"exit code {ended.returncode}: {last}" if ended.returncode else ""

    def faults(self, commands: list[str]) -> Iterator[str]:
        """Each command that fails, of these in their order."""
        for command in commands:
            problem = self.fault(command)
            print(f"{'wrong' if problem else 'right'}  {command}", flush=True)
            if problem:
                yield f"{command}: {problem}"

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


def faults_of_first_hour(folder: Path, wheel: Path) -> Iterator[str]:
    """What fails of README and of the tour with the plain install, and a benchmark whose error is not about the hub."""
    environment = Environment(folder, wheel, pinned=False)
    yield from environment.faults(commands_of((ROOT / "README.md").read_text("utf-8")))
    environment.variables.pop("REASONER_ENGINE")
    tour = environment.run([str(environment.folder / "bin/reasoner"), "demo"])
    _, _, listed = tour.stdout.partition("What to type next\n")
    typed = listed.splitlines()
    if not typed:
        yield f"the tour names no commands: {tour.stderr[-2000:]}"
    shutil.rmtree(environment.work / "first")
    yield from environment.faults(typed)
    environment.variables["HF_ENDPOINT"] = UNREACHABLE
    asked = "reasoner eval gsm8k --engine simulated"
    told = environment.fault(asked)
    if "the hub cannot be reached" not in told:
        yield f"{asked}: {told}"


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
    environment = Environment(folder / "inspect", wheel, "inspect", pinned=False)
    ended = environment.run([str(environment.folder / "bin/python"), "-c", INSPECT])
    print(
        f"inspect {'wrong' if ended.returncode else 'right'}  an evaluation by inspect_ai",
        flush=True,
    )
    return f"inspect: {ended.stderr[-2000:]}" if ended.returncode else ""


def fault_of_plugin(folder: Path, wheel: Path) -> str:
    """What is wrong with the template of a package of plug-ins, or with its tests."""
    environment = Environment(folder / "plugin", wheel)
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
    """Everything that fails."""
    subprocess.run(
        [UV, "build", "--quiet", "--wheel", "--out-dir", folder, ROOT], check=True
    )
    [wheel] = folder.glob("*.whl")
    yield from faults_of_first_hour(folder / "first", wheel)
    pinned = Environment(folder / "pinned", wheel)
    pinned.variables["REASONER_ENGINE"] = "simulated"
    yield from pinned.faults(MORE.strip().splitlines())
    yield from filter(
        None, (fault_of_inspect(folder, wheel), fault_of_plugin(folder, wheel))
    )


def main() -> int:
    """Type everything; the exit code."""
    folder = Path(tempfile.mkdtemp(prefix="reasoner-wheels-"))
    try:
        wrong = list(faults(folder))
    finally:
        shutil.rmtree(folder)
    print(*wrong, sep="\n", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
