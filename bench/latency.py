"""Seconds from the shell prompt to the answer of `reasoner solve` on the embedded model, split.

    python bench/latency.py [RUNS]

Each run is a new process, with the model on disk, with an engine of its own, and then by `reasoner serve`. "ours" is
all until the answer that is neither vLLM's import, nor its start, nor the question.
"""

import re
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

COMMAND = [str(Path(sys.executable).with_name("reasoner")), "solve", "What is 3 + 4?"]


def _end_of(stream: IO[str], began: float) -> float:
    """When the first line of a stream is there."""
    stream.readline()
    return time.perf_counter() - began


def once(*options: str) -> dict[str, float]:
    began = time.perf_counter()
    process = subprocess.Popen(
        [*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stderr
    answer, stages, question = process.stdout, dict[str, float](), 0.0
    answered = list[float]()
    reader = threading.Thread(target=lambda: answered.append(_end_of(answer, began)))
    reader.start()
    for line in process.stderr:
        stages.setdefault(line.partition(" ")[0], time.perf_counter() - began)
        if summary := re.match(r"time .* ([\d.]+) s of it for the question", line):
            question = float(summary[1])
    reader.join()
    if process.wait():
        sys.exit(f"{' '.join(COMMAND)} failed with code {process.returncode}")
    split = {
        "to the answer": answered[0],
        "to the next prompt": time.perf_counter() - began,
        "question": question,
    }
    if "importing" in stages:
        split["import vLLM"] = stages["loading"] - stages["importing"]
        split["start engine"] = stages["solving"] - stages["loading"]
    others = sum(
        split.get(name, 0.0) for name in ("question", "import vLLM", "start engine")
    )
    return split | {"ours": answered[0] - others}


def measure(title: str, runs: int, *options: str) -> None:
    """Print the medians."""
    for strategy in ("single", "self_consistency:n=8"):
        measured = [once("-s", strategy, *options) for _ in range(runs)]
        print(f"{strategy}, {title}")
        for name in measured[0]:
            print(
                f"  {name:<20} {statistics.median(run[name] for run in measured):6.2f} s",
                flush=True,
            )


def main(runs: int) -> None:
    measure("an engine of its own", runs)
    server = subprocess.Popen(
        [COMMAND[0], "serve", "--port", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stderr
    try:
        ready = next((line for line in server.stderr if line.startswith("ready ")), "")
        if not ready:
            sys.exit("the server ended at its start")
        measure("a server", runs, "--base-url", f"{ready.split()[1]}/v1")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
