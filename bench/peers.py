"""The same questions through optillm, its_hub and `reasoner serve`, all before one vLLM server on the embedded model.

    python bench/peers.py [--questions 24] [--at-once 1 4] [--replies FILE]

The servers must be running. A peer has an environment of its own, outside the repository:

    uv venv E && uv pip install --python E/bin/python "its-hub[iaas]==1.2.0"
    uv venv F && uv pip install --python F/bin/python optillm==0.4.0

    python -m vllm.entrypoints.openai.api_server --model FOLDER --served-model-name embedded --port 9400 \
        --enforce-eager --max-model-len 2048 --block-size 32 --gpu-memory-utilization 0.2 --seed 0 \
        --enable-prompt-tokens-details --override-generation-config '{"temperature": 0.7, "max_new_tokens": 64}'
    reasoner serve --base-url http://127.0.0.1:9400/v1 --port 9401
    OPENAI_API_KEY=none F/bin/optillm --base-url http://127.0.0.1:9400/v1 --port 9402 --log warning
    E/bin/its-iaas --port 9403 --log-level WARNING

FOLDER is what `reasoner.models.embedded.embedded_path(print)` returns. Each request asks for temperature 0.7 and
`max_tokens` 64. its_hub sends neither on, so the server has them as its defaults. The prompt is the same for all: to a
vote, reasoner gets the question and the kind of its answer, and writes the instruction itself; optillm adds "User: ".
The ways take turns, in an order that rotates, with this many questions at once. The server's counters are read before
and after each turn. All replies are read in one way, by `reasoner`.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from reasoner.answers.questions import with_instruction
from reasoner_evals.tasks.arithmetic import reported
from reasoner_evals.tasks.graders import GradedQuestion

MODEL = "embedded"
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
"""What the model's template says where a chat has no such turn; optillm would send an empty one."""
LAST_NUMBER = r"(-?\d+(?:\.\d+)?)(?!.*\d)"
"""What its_hub votes on: its server needs a regular expression."""
VOTE = {"strategy": "self_consistency:n=8", "answer": "number"}
PLAIN, VOTES = "one sample", "vote"


class Tokens(NamedTuple):
    """Tokens of prompts, and generated ones."""

    prompt: int = 0
    generated: int = 0

    def __str__(self) -> str:
        return f"{self.prompt:,} + {self.generated:,}"


@dataclass(frozen=True)
class Way:
    """One way to ask, and what came back."""

    kind: str
    name: str
    server: str
    model: str = MODEL
    more: dict[str, Any] = field(default_factory=dict)
    instructs: bool = False
    """Whether the server writes what the prompt says about the form of the answer."""
    seconds: list[float] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    reported: list[dict[str, Any]] = field(default_factory=list)
    counted: list[Tokens] = field(default_factory=list)

    def body(self, item: GradedQuestion, number: int) -> dict[str, Any]:
        text = (
            item.question.text
            if self.instructs
            else with_instruction(item.question.text, item.question.space)
        )
        messages = [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": text},
        ]
        sampling = {"temperature": 0.7, "max_tokens": 64, "seed": number}
        return {"model": self.model, "messages": messages, **sampling, **self.more}


def ways(servers: argparse.Namespace) -> list[Way]:
    """What is compared: one sample, passed through where the server can, and the vote of 8."""
    return [
        Way(PLAIN, "vLLM itself", servers.vllm),
        Way(PLAIN, "reasoner", servers.reasoner),
        Way(PLAIN, "optillm, `none`", servers.optillm),
        Way(PLAIN, "its_hub, budget 1", servers.its_hub, more={"budget": 1}),
        Way(
            VOTES,
            "reasoner, `self_consistency:n=8`",
            servers.reasoner,
            more={"reasoner": VOTE},
            instructs=True,
        ),
        Way(
            VOTES,
            "optillm, `majority_voting`, k=8",
            servers.optillm,
            f"majority_voting-{MODEL}",
            {"k": 8},
        ),
        Way(VOTES, "its_hub, budget 8", servers.its_hub, more={"budget": 8}),
    ]


async def counters(http: aiohttp.ClientSession, vllm: str) -> Tokens:
    """The tokens of prompts, cached ones too, and those generated, by the server's own metrics, once they rest."""
    before = None
    while True:
        async with http.get(f"{vllm}/metrics") as response:
            lines = (await response.text()).splitlines()
        values = {
            line.split("{")[0]: float(line.split()[-1])
            for line in lines
            if line.startswith("vllm:")
        }
        names = (
            "vllm:prompt_tokens_total",
            "vllm:generation_tokens_total",
            "vllm:num_requests_running",
        )
        prompt, generated, running = (int(values[name]) for name in names)
        if not running and before == (prompt, generated):
            return Tokens(prompt, generated)
        before = (prompt, generated)


async def ask(
    http: aiohttp.ClientSession, way: Way, item: GradedQuestion, number: int
) -> dict[str, Any]:
    """Ask one question; the reply's text, whether it is right, and what it cost."""
    began = time.perf_counter()
    async with http.post(
        f"{way.server}/v1/chat/completions", json=way.body(item, number)
    ) as response:
        reply = await response.json(content_type=None)
    way.seconds.append(time.perf_counter() - began)
    text = reply["choices"][0]["message"]["content"] if response.status == 200 else ""
    answer, space = item.question.space.read(text or ""), item.question.space
    gold = space.read(item.gold)
    assert gold
    way.right.append(bool(answer and space.same(gold, answer)))
    way.reported.append(reply.get("usage") or {})
    rest = {
        "status": response.status,
        "text": text,
        "right": way.right[-1],
        "usage": way.reported[-1],
    }
    return {
        "way": way.name,
        "kind": way.kind,
        "question": item.question.text,
        "seconds": way.seconds[-1],
        **rest,
    }


async def measure(
    http: aiohttp.ClientSession,
    servers: argparse.Namespace,
    items: Sequence[GradedQuestion],
    at_once: int,
) -> tuple[list[Way], list[dict[str, Any]]]:
    """Ask all questions in all ways, in turns of this many at once."""
    compared, replies = ways(servers), []
    for turn, start in enumerate(range(0, len(items), at_once)):
        group = list(enumerate(items))[start : start + at_once]
        shift = turn % len(compared)
        for way in compared[shift:] + compared[:shift]:
            before = await counters(http, servers.vllm)
            answered = await asyncio.gather(
                *(ask(http, way, item, number) for number, item in group)
            )
            after = await counters(http, servers.vllm)
            way.counted.append(
                Tokens(after.prompt - before.prompt, after.generated - before.generated)
            )
            replies += [{"at_once": at_once, **reply} for reply in answered]
    return compared, replies


def row(way: Way, at_once: int) -> str:
    """A line of the table; tokens are those of all questions."""
    counted = Tokens(*(sum(column) for column in zip(*way.counted, strict=True)))
    columns = [
        [usage.get(name) for usage in way.reported]
        for name in ("prompt_tokens", "completion_tokens")
    ]
    claimed = [
        f"{sum(numbers):,}"
        if (numbers := [n for n in column if n is not None])
        else "none"
        for column in columns
    ]
    seconds = sorted(way.seconds)
    spread = f"{statistics.median(seconds):.2f} ({seconds[0]:.2f} to {seconds[-1]:.2f})"
    cells = (
        way.kind,
        at_once,
        way.name,
        f"{sum(way.right)}/{len(way.right)}",
        spread,
        counted,
        " + ".join(claimed),
    )
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


async def main(servers: argparse.Namespace) -> list[dict[str, Any]]:
    """Print the table; all replies."""
    items = reported()[: servers.questions]
    asked: list[dict[str, Any]] = []
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(300)) as http:
        upstream = {"endpoint": f"{servers.vllm}/v1", "api_key": "none", "model": MODEL}
        vote = {"alg": "self-consistency", "regex_patterns": [LAST_NUMBER], "budget": 8}
        async with http.post(
            f"{servers.its_hub}/configure", json=upstream | vote
        ) as response:
            assert response.status == 200, await response.text()
        for way in ways(servers):
            await ask(http, way, reported()[-1], 0)
        print(
            "| ask | at once | through | right | seconds a reply, median | tokens vLLM counted | tokens in `usage` |"
        )
        print("|---|---|---|---|---|---|---|")
        for at_once in servers.at_once:
            compared, replies = await measure(http, servers, items, at_once)
            for way in sorted(compared, key=lambda way: way.kind == VOTES):
                print(row(way, at_once), flush=True)
            asked += replies
    return asked


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, port in (
        ("vllm", 9400),
        ("reasoner", 9401),
        ("optillm", 9402),
        ("its-hub", 9403),
    ):
        parser.add_argument(
            f"--{name}",
            default=f"http://127.0.0.1:{port}",
            help="its address, without /v1",
        )
    parser.add_argument("--questions", type=int, default=24)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 4])
    parser.add_argument(
        "--replies", default="", help="a file for the replies, a line of JSON each"
    )
    arguments = parser.parse_args()
    all_replies = asyncio.run(main(arguments))
    if arguments.replies:
        Path(arguments.replies).write_text(
            "".join(json.dumps(reply) + "\n" for reply in all_replies)
        )
