"""Every figure that has a peer or a bar, one script after the other; each lets its sides take turns.

    python bench/all.py [--its-hub PYTHON] [--treequest PYTHON] [--minutes 10] [FIGURE...]

A peer has an environment of its own, and is left out without its Python: "its-hub[iaas]==1.2.0" with httptools, and
treequest; `reference` makes its own. The embedded model runs in the first and the last figure, on all cores. A figure
that fails or takes longer than `--minutes` says so, and the next one is measured.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

FIGURES = {
    "throughput": "`solve_many` against bare vLLM in the same process: throughput.py 2",
    "front-end": "the driver of one GPU, microseconds a token: front_end.py 3",
    "runner": "the runner, microseconds and calls an operation: overhead.py",
    "walk": "what a reader walks to follow a request, and calls a sample: walk.py",
    "http": "votes over HTTP beside its_hub, wall and processor time: over_http.py 2 ITS_HUB",
    "gateway": "a server before a server beside its_hub, calls, time and requests a second: gateway.py 2 ITS_HUB",
    "reading": "reading a reply beside Math-Verify, microseconds: reading.py lengths",
    "tree": "a generation of AB-MCTS beside treequest, microseconds: tree.py TREEQUEST",
    "reference": "decisions beside treequest, its_hub and llm-verifier, from PyPI: reference/compare.py",
    "strategies": "own time of each strategy at 1,024 samples, seconds: own_time.py",
    "latency": "from the shell prompt to the answer, seconds: latency.py 3",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--its-hub", default="", metavar="PYTHON")
    parser.add_argument("--treequest", default="", metavar="PYTHON")
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="the most that a figure may take"
    )
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=", ".join(FIGURES))
    given = parser.parse_args()
    # What a script started ends with this one too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if unknown := set(given.figures) - FIGURES.keys():
        parser.error(
            f"there is no figure {', '.join(sorted(unknown))}: choose from {', '.join(FIGURES)}"
        )
    peers = {"ITS_HUB": given.its_hub, "TREEQUEST": given.treequest}
    cpus = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next(
        (
            line.partition(": ")[2]
            for line in cpus.splitlines()
            if line.startswith("model name")
        ),
        "unknown",
    )
    print(f"{model}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}")
    failed = []
    for name in given.figures or FIGURES:
        title, _, command = FIGURES[name].rpartition(": ")
        words = [peers.get(word, word) for word in command.split()]
        left_out = " without its peer" if "" in words else ""
        print(
            f"\n{name}{left_out}: {title} (bench/{command}, load {os.getloadavg()[0]:.1f})",
            flush=True,
        )
        began = time.monotonic()
        if problem := measured([word for word in words if word], given.minutes * 60):
            failed.append(name)
        print(
            f"{name}: {problem or 'measured'} after {time.monotonic() - began:.0f} s",
            flush=True,
        )
    if failed:
        sys.exit(f"these failed: {', '.join(failed)}")


def measured(words: list[str], seconds: float) -> str:
    """Run a script with its arguments; why it has no figure, or ""."""
    folder = Path(__file__).parent
    script, *arguments = words
    process = subprocess.Popen(
        [sys.executable, str(folder / script), *arguments],
        env={**os.environ, "PYTHONPATH": str(folder.parent)},
        start_new_session=True,
    )
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        # A script that ends leaves nothing; of any other, its servers and clients end too.
        if process.poll() != 0:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return "stopped" if code is None else f"failed with code {code}" if code else ""


if __name__ == "__main__":
    main()
