"""The included head for the embedded model: the data it was fitted on, and the fit.

    python bench/head.py FOLDER

Draws 12 samples for each of 800 practice questions (seed 1, temperature 0.7) into FOLDER, unless it holds a run, and
fits the head. No question that is reported anywhere, nor its two numbers in the other order, is among them.
`bench/verifiers.py` measures the head on the reported questions.
"""

import subprocess
import sys
from pathlib import Path

from reasoner_verifiers.reward.model import EMBEDDED_HEAD

REASONER = [sys.executable, "-m", "reasoner"]
STRATEGY = "self_consistency:n=12,temperature=0.7,max_tokens=160"


def main(folder: Path) -> None:
    if not (folder / "manifest.json").exists():
        command = [
            "eval",
            "arithmetic:split=practice",
            "-s",
            STRATEGY,
            "--seeds",
            "1,",
            "--out",
            str(folder),
        ]
        subprocess.run([*REASONER, *command], check=True)
    subprocess.run(
        [*REASONER, "verifier", "fit", str(folder), "--out", str(EMBEDDED_HEAD)],
        check=True,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
