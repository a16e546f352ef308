"""Record samples of a real model on a benchmark, block by block, into bench/recordings.

    python bench/real/record.py NAME --model FOLDER --task SPEC [--samples 16] [--block 20] [--minutes 30] [--gold]

Each block of questions is one `reasoner eval`: a greedy reply and SAMPLES samples of each question, rated by their
certainty. Each reply that was cut is asked for its answer, so that a replay has it for any number of samples. A block
that is done is added to bench/recordings/NAME.jsonl.gz, a line for each reply; the greedy one has the index
-1. Run the same command again to continue: it records the blocks that are missing, and starts none after MINUTES. A
block that was interrupted continues from its run folder under --runs. `--gold` adds reference answers, and
makes the file a task of its own, `pool:FILE`; leave it out where a licence or its authors keep answers out of the
web.
"""

import argparse
import gzip
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from recorded import records

from reasoner.registry import build, spec_of
from reasoner.trace.events import read_trace
from reasoner.trace.replies import TRACE, completions_in, replies_in
from reasoner_evals.runs.reading import open_runs
from reasoner_evals.runs.verdicts import RunVerdicts

RECORDINGS = Path(__file__).parents[1] / "recordings"
GREEDY = -1


def record(folder: Path, shard: str, options: argparse.Namespace) -> None:
    """Let the command ask one block, or continue it."""
    if (folder / "manifest.json").exists():
        command = ["--resume", str(folder)]
    else:
        task = build("task", options.task)
        others = f",{task.answer_options}" if task.answer_options else ""
        command = [
            spec_of(replace(task, answer_options=f"cut=probe{others}")),
            "--strategy=single:temperature=0",
            f"--strategy=best_of_n:n={options.samples},temperature={options.temperature}",
            f"--max-tokens={options.max_tokens}",
            f"--model={options.model}",
            f"--engine=vllm:max_model_len={options.max_model_len},kv_gib={options.kv_gib}",
            f"--shard={shard}",
            f"--out={folder}",
        ]
    run = subprocess.run(
        [sys.executable, "-m", "reasoner", "eval", *command], check=False
    )
    if run.returncode:
        sys.exit(run.returncode)


def lines_of(run: Path, golds: dict[str, str]) -> Iterator[str]:
    """A line for each reply of a block; `right` is the benchmark's own verdict on its answer."""
    [opened] = open_runs([run])
    task, verdicts = opened.manifest.arms[0].task, RunVerdicts(run / "verdicts.jsonl")
    for arm in sorted((run / "arms").iterdir()):
        events = list(read_trace(arm / TRACE))
        samples = [sampled for sampled, _ in completions_in(events)]
        for sampled, reply in zip(samples, replies_in(events), strict=True):
            name = sampled.question_id
            yield json.dumps(
                {
                    "question_id": name,
                    "index": GREEDY if ".single" in arm.name else sampled.index,
                    "answer": reply.answer.text if reply.answer else None,
                    "right": reply.answer is not None
                    and verdicts.status(task, name, reply.answer.text) == "right",
                    "tokens": reply.completion.usage.generated_tokens,
                    "prompt_tokens": reply.completion.usage.prompt_tokens,
                    "finish": reply.completion.finish_reason,
                    "score": reply.score,
                    "text": reply.text,
                    **({"gold": golds[name]} if golds else {}),
                },
                ensure_ascii=False,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--model", required=True)
    parser.add_argument("--task", required=True)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--block", type=int, default=20, help="questions of a block")
    parser.add_argument("--blocks", type=int, help="at most this many blocks")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--max-model-len", type=int, default=2048)
    parser.add_argument("--kv-gib", type=float, default=4)
    parser.add_argument("--runs", type=Path, default=Path("runs/recordings"))
    parser.add_argument("--gold", action="store_true")
    options = parser.parse_args()

    items = build("task", options.task).load().items
    count = -(-len(items) // options.block)
    file = RECORDINGS / f"{options.name}.jsonl.gz"
    file.parent.mkdir(exist_ok=True)
    known, began = {record["question_id"] for record in records(file)}, time.monotonic()
    for block in range(min(count, options.blocks or count)):
        asked = items[block::count]
        if all(item.question.id in known for item in asked):
            continue
        if time.monotonic() - began > 60 * options.minutes:
            break
        run = options.runs / options.name / str(block)
        record(run, f"{block + 1}/{count}", options)
        golds = {item.question.id: item.gold for item in asked} if options.gold else {}
        with gzip.open(file, "at", encoding="utf-8") as lines:
            lines.writelines(f"{line}\n" for line in lines_of(run, golds))
        print(f"block {block + 1} of {count} is recorded", flush=True)


if __name__ == "__main__":
    main()
