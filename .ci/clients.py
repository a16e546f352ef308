"""Runs the recipes of docs/serving.md, each with the latest release of its client and in an environment of its own.

    .venv/bin/python .ci/clients.py [NAME]...

They ask a server on the simulated engine, or on the embedded model where they name it. It needs PyPI, so it is run by
hand. lm-evaluation-harness gets 40 sums of our own instead of a data set, four times each.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PATIENCE = 300
"""Seconds after which a recipe fails."""
ADDRESS = "http://127.0.0.1:8000"
EMBEDDED = "SmolLM2-135M-Instruct"
"""The name under which the embedded model is served."""
SUMS = """
task: sums
dataset_path: json
dataset_kwargs: {data_files: {test: sums.jsonl}}
test_split: test
output_type: generate_until
repeats: 4
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["Question:"], do_sample: true, temperature: 0.7}
filter_list:
  - {name: strict, filter: [{function: regex, regex_pattern: "#### (.+)"}, {function: take_first}]}
  - {name: last, filter: [{function: regex, group_select: -1, regex_pattern: "(-?[0-9]+)"}, {function: take_first}]}
metric_list: [{metric: exact_match, regexes_to_ignore: ["(?s).*#### "]}]
"""
"""A task of lm-evaluation-harness, with two filters as gsm8k has."""


class Recipe(NamedTuple):
    """A client with the package and version that the page names, the language of its code, and the code."""

    name: str
    package: str
    version: str
    language: str
    code: str


def recipes() -> Iterator[Recipe]:
    """The first block after each bold name that has a package and a version."""
    page = (
        (ROOT / "docs/serving.md")
        .read_text(encoding="utf-8")
        .partition("## Recipes")[2]
    )
    for part in re.split(r"^(?=\*\*)", page, flags=re.MULTILINE):
        named = re.match(r"\*\*(.+?)\*\* \((\S+) ([\d.]+)\)", part)
        block = re.search(r"^```(\w+)\n(.*?)^```", part, re.MULTILINE | re.DOTALL)
        if named and block:
            yield Recipe(*named.groups(), *block.groups())


def commands(recipe: Recipe, address: str, folder: Path) -> list[list[str]]:
    """The commands that run a recipe in a folder against a server."""
    code = recipe.code.replace(ADDRESS, address)
    installed = [
        str(BIN / "uv"),
        "run",
        "--no-project",
        "--isolated",
        "--quiet",
        "--with",
        recipe.package,
    ]
    shown = f"import importlib.metadata as m; print('version', m.version({recipe.package.partition('[')[0]!r}))"
    if recipe.language == "text":
        return [[*installed, "python", "-c", f"{shown}\n{code}"]]
    rows = [
        {"question": f"What is {a} + 4?", "answer": f"{a} + 4\n#### {a + 4}"}
        for a in range(40)
    ]
    (folder / "sums.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )
    (folder / "sums.yaml").write_text(SUMS, encoding="utf-8")
    code = (
        code.partition("\n")[2]
        .rstrip()
        .replace("--tasks gsm8k", "--tasks sums --include_path .")
    )
    return [
        [*installed, "python", "-c", shown],
        [
            *installed,
            "bash",
            "-ec",
            f"{code} --gen_kwargs seed=None",
        ],
    ]


def run(recipe: Recipe, address: str) -> bool:
    """Run a recipe; whether it succeeded."""
    environment = os.environ | {
        "OPENAI_API_KEY": "none",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    with tempfile.TemporaryDirectory(prefix="reasoner-clients-") as name:
        for command in commands(recipe, address, Path(name)):
            ended = subprocess.run(
                command,
                cwd=name,
                env=environment,
                timeout=PATIENCE,
                capture_output=True,
                text=True,
                check=False,
            )
            if version := re.search(r"^version (.+)$", ended.stdout, re.MULTILINE):
                print(
                    f"{recipe.name}: {version[1]}, the page has {recipe.version}",
                    flush=True,
                )
            if ended.returncode:
                print(
                    f"{recipe.name} wrong\n{ended.stdout[-1000:]}\n{ended.stderr[-3000:]}",
                    flush=True,
                )
                return False
            print(
                *(f"    {line}" for line in ended.stdout.splitlines()[-6:]),
                sep="\n",
                flush=True,
            )
    print(f"{recipe.name} right", flush=True)
    return True


@contextmanager
def served(engine: str) -> Iterator[str]:
    """The address of a server on an engine."""
    serve = [str(BIN / "reasoner"), "serve", "--engine", engine, "--port", "0"]
    with subprocess.Popen(serve, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr
            yield next(
                found[1]
                for line in server.stderr
                if (found := re.search(r"ready +(http://\S+)", line))
            )
        finally:
            server.terminate()


def main() -> int:
    """Run the recipes that are named, or all; the exit code."""
    chosen = [
        recipe
        for recipe in recipes()
        if not sys.argv[1:] or recipe.name in sys.argv[1:]
    ]
    right = []
    for engine, embedded in (("simulated", False), ("vllm:max_model_len=2048", True)):
        if asking := [
            recipe for recipe in chosen if (EMBEDDED in recipe.code) == embedded
        ]:
            with served(engine) as address:
                right += [run(recipe, address) for recipe in asking]
    return 0 if right and all(right) else 1


if __name__ == "__main__":
    sys.exit(main())
