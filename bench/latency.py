"""Seconds from the shell prompt to the first answer of `reasoner solve` on the embedded model, split.

    python bench/latency.py [RUNS]

Each run is a new process on a warm model cache. A single sample of one token gives the time of the first token; it
holds no answer. "ours" is all that is neither vLLM's import, its start, nor its generation.
"""

import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMAND = [str(Path(sys.executable).with_name("reasoner")), "solve", "What is 3 + 4?"]


def once(strategy: str) -> dict[str, float]:
    began = time.perf_counter()
    process = subprocess.Popen([*COMMAND, "-s", strategy], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
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


def main(runs: int) -> None:
    for strategy in ("single:max_tokens=1", "self_consistency:n=8"):
        measured = [once(strategy) for _ in range(runs)]
        names = list(measured[0])
        print(strategy)
        for name in names:
            print(f"  {name:<20} {statistics.median(run[name] for run in measured):6.2f} s")
        vllm = ("import vLLM", "start engine", "first sample", "other samples")
        if strategy.startswith("self_consistency"):
            ours = statistics.median(run["to the answer"] - sum(run[name] for name in vllm) for run in measured)
            print(f"  {'ours':<20} {ours:6.2f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
