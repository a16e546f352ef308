"""Curves from recorded answers: votes, adaptive rules and early stopping on the same axes, without a model.

    python bench/pools.py FOLDER POOL...

Each POOL is a file of recorded answers, drawn in the recorded order. It is run and reported by the command, into
FOLDER; the tables are printed.
"""

import subprocess
import sys
import time
from pathlib import Path

WHOLE = "n=40,max_tokens=1000000"
STRATEGIES = (
    f"self_consistency:{WHOLE}",
    f"adaptive_consistency:{WHOLE}",
    f"adaptive_consistency:{WHOLE},theta=0.99",
    f"adaptive_consistency:{WHOLE},rule=dirichlet",
    f"early_stopping:{WHOLE}",
    f"early_stopping:{WHOLE},window=3",
)


def command(*arguments: str) -> float:
    """The seconds that the command took."""
    began = time.perf_counter()
    subprocess.run([Path(sys.executable).with_name("reasoner"), *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main(folder: Path, pools: list[Path]) -> None:
    for pool in pools:
        out = folder / pool.stem
        chosen = [word for spec in STRATEGIES for word in ("--strategy", spec)]
        spec = f"pool:{pool}"
        ran = command("eval", spec, "--engine", spec, *chosen, "--out", str(out))
        made = command("report", str(out))
        print(f"## {pool.stem}: run in {ran:.0f} s, reported in {made:.0f} s\n")
        print("\n".join(line for line in (out / "results.md").read_text().splitlines() if line.startswith("|")))
        print(flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
