"""Seconds from the shell prompt to the first answer of `reasoner solve` on the embedded model, split.

    python bench/latency.py [RUNS]

Each run is a new process on a warm model cache, with an engine of its own, and then with that of a server. A single
sample of one token gives the time of the first token; it holds no answer. "ours" is all that is neither vLLM's import,
its start, nor its generation.
"""

import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMAND = [str(Path(sys.executable).with_name("reasoner")), "solve", "What is 3 + 4?"]


def once(*options: str) -> dict[str, float]:
    began = time.perf_counter()
    process = subprocess.Popen([*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stderr
    process.stdout.readline()
    answered = time.perf_counter() - began
    summary = process.stderr.read()
    process.wait()
    parts = re.search(r"^time .*: (.*)$", summary, re.MULTILINE)
    assert parts, summary
    split = {name: float(value) for name, value in re.findall(r"([a-zA-Z ]+?) ([\d.]+)(?:,|$)", parts[1])}
    split = {name.strip(): value for name, value in split.items()}
    return {"to the answer": answered, "to the next prompt": time.perf_counter() - began, **split}


def measure(title: str, runs: int, vllm: tuple[str, ...], *options: str) -> None:
    """Print the medians; `vllm` are the stages that are not ours."""
    for strategy in ("single:max_tokens=1", "self_consistency:n=8"):
        measured = [once("-s", strategy, *options) for _ in range(runs)]
        print(f"{strategy}, {title}")
        for name in measured[0]:
            print(f"  {name:<20} {statistics.median(run[name] for run in measured):6.2f} s")
        if strategy.startswith("self_consistency"):
            ours = statistics.median(
                run["to the answer"] - sum(run.get(name, 0.0) for name in vllm) for run in measured
            )
            print(f"  {'ours':<20} {ours:6.2f} s", flush=True)


def main(runs: int) -> None:
    samples = "first sample", "other samples"
    measure("an engine of its own", runs, ("import vLLM", "start engine", *samples), "--no-server")
    server = subprocess.Popen(
        [COMMAND[0], "serve", "--port", "0"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert server.stderr
    try:
        if not any(line.startswith("ready ") for line in server.stderr):
            sys.exit("the server ended at its start")
        measure("the engine of a server", runs, samples)
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
