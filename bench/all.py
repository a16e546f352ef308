"""Every figure that has a peer or a bar, one script after the other; each lets its sides take turns.

    python bench/all.py [--its-hub PYTHON] [--treequest PYTHON] [FIGURE...]

A peer has an environment of its own, and is left out without its Python: "its-hub[iaas]==1.2.0" with httptools, and
treequest; `reference` makes its own. The embedded model runs in the first and the last figure, on all cores.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

FIGURES = {
    "throughput": "`solve_many` against bare vLLM in the same process: throughput.py 4",
    "front-end": "the driver of one GPU, microseconds a token: front_end.py 3",
    "runner": "the runner, microseconds and calls an operation: overhead.py",
    "http": "votes over HTTP beside its_hub, wall and processor time: over_http.py 3 ITS_HUB",
    "gateway": "a server before a server beside its_hub, calls, time and requests a second: gateway.py 2 ITS_HUB",
    "reading": "reading a reply beside Math-Verify, microseconds: reading.py lengths",
    "tree": "a generation of AB-MCTS beside treequest, microseconds: tree.py TREEQUEST",
    "reference": "decisions beside treequest, its_hub, llm-verifier and deepconf, from PyPI: reference/compare.py",
    "strategies": "own time of each strategy at 1,024 samples, seconds: own_time.py",
    "latency": "from the shell prompt to the answer, seconds: latency.py 3",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--its-hub", default="", metavar="PYTHON")
    parser.add_argument("--treequest", default="", metavar="PYTHON")
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=", ".join(FIGURES))
    given = parser.parse_args()
    if unknown := set(given.figures) - FIGURES.keys():
        parser.error(f"there is no figure {', '.join(sorted(unknown))}: choose from {', '.join(FIGURES)}")
    peers = {"ITS_HUB": given.its_hub, "TREEQUEST": given.treequest}
    cpus = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next((line.partition(": ")[2] for line in cpus.splitlines() if line.startswith("model name")), "unknown")
    print(f"{model}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}")
    failed = []
    for name in given.figures or FIGURES:
        title, _, command = FIGURES[name].rpartition(": ")
        script, *words = (peers.get(word, word) for word in command.split())
        print(f"\n{name}: {title} (bench/{command}, load {os.getloadavg()[0]:.1f})", flush=True)
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        run = [sys.executable, str(Path(__file__).parent / script), *filter(None, words)]
        if subprocess.run(run, env=environment, check=False).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"these failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
