"""Bad input: one line that names the value and what to do, an exit code, nothing on standard output, no traceback."""

import os
import shlex
from pathlib import Path

import pytest

from tests.cli.command import MAIN, Run, finish, start
from tests.engines.fake_server import FakeServer

SIMULATED = ("-e", "simulated")
LONG = "x" * 300
# What is typed after `reasoner`, and parts of the error. SOLVE is `solve q -e simulated`.
ROWS = [
    # the question
    (
        'solve "" -e simulated',
        "the question is empty",
        "pass - to read it from standard input",
    ),
    (
        "solve what is 3+4 -e simulated",
        "the question must be one argument: put it in quotes",
    ),
    # strategies and their options
    ("SOLVE -s singel", "no strategy named 'singel'", "did you mean 'single'?"),
    (
        "SOLVE --verifier certainty",
        "--verifier certainty has no effect",
        "self_consistency",
        "omit it",
    ),
    (
        "SOLVE -s best_of_n --allow-unsandboxed-code",
        "the verifier certainty runs no code; omit it",
    ),
    # budgets, prices, seeds
    ("SOLVE -b usd=1", "usd needs prices", "--prices prompt=USD,generated=USD"),
    ("SOLVE --seed -1", "invalid value for '--seed': -1 is not in the range x>=0"),
    (
        "solve q -e openai --base-url here",
        "base_url='here'",
        "http://localhost:8000/v1",
    ),
    (
        "solve q --base-url http://a --base-url http://b",
        "--base-url is given 2 times: give it once",
        "need a router",
    ),
    ("SOLVE --stratgy single", "did you mean --strategy?"),
    (f"SOLVE --{LONG} 1", f"named '--{'x' * 76}…"),
    ("-n 8 solve q", "the options of a command follow its name"),
    # commands
    ("slove q", "no command named 'slove'", "did you mean 'solve'?"),
    ("'What is 2+2'", "did you mean `reasoner solve 'What is 2+2'`?"),
]


@pytest.mark.parametrize(
    "row", ROWS, ids=[row[0].encode("ascii", "replace").decode()[:50] for row in ROWS]
)
def test_the_error_names_the_value_and_what_to_do(
    row: tuple[str, ...], run: Run
) -> None:
    typed, *parts = row
    ended = run(*shlex.split(typed.replace("SOLVE", "solve q -e simulated")))
    assert (ended.code, ended.out) == (2, "")
    assert [part for part in parts if part not in ended.error] == [], ended.error


@pytest.mark.parametrize("tokens", [10, 40])
def test_a_budget_for_no_answer_is_a_code_of_its_own(tokens: int, run: Run) -> None:
    ended = run("solve", "q", *SIMULATED, "-b", f"tokens={tokens}")
    assert (ended.code, ended.out) == (3, "")
    assert ended.error.startswith(
        f"error: budget tokens={tokens}: the next operation needs "
    )
    assert ended.error.endswith(": raise it, or shorten the question") == (tokens == 10)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("program", b"\x7fELF\0\0\0", "is binary"),
        ("latin1.txt", "café".encode("latin-1"), "is not UTF-8 text"),
        ("blank.txt", b" \n", "is empty"),
        ("huge.txt", b"a " * 5_000_001, "the limit is 10,000,000 bytes"),
    ],
)
def test_a_text_that_cannot_be_used(
    name: str, content: bytes | None, said: str, run: Run, tmp_path: Path
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
        asked = run("solve", "-", *SIMULATED, stdin=content)
        assert (asked.code, asked.out, said in asked.error) == (2, "", True)
    ended = run("solve", "q", "--context", str(file), *SIMULATED)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.error
    assert "--context" in ended.error
    assert file.name.partition("\n")[0] in ended.error
    assert "\x1b" not in ended.error


def test_samples_without_any_answer(run: Run) -> None:
    ended = run("solve", "q", "-e", "simulated:silent=1")
    assert (ended.code, ended.out) == (1, "")
    assert "none of 8 samples has an answer" in ended.error
    assert (
        "the only sample has no answer"
        in run("solve", "q", "-e", "simulated", "-s", "single:max_tokens=1").error
    )
    cut = run(
        "solve", "q", "-e", "simulated:tokens=1e9", "-n", "3", "--max-tokens", "20"
    ).error
    assert (
        "none of 3 samples has an answer: 3 of 3 samples were cut at max_tokens=20: raise --max-tokens"
        in cut
    )


@pytest.mark.process
def test_vllm_that_is_not_installed(tmp_path: Path) -> None:
    script = (
        "import reasoner.engines.vllm.served as served; served.installed_build = lambda: None; "
        "from reasoner.cli import main; main()"
    )
    ended = finish(
        start(
            "solve",
            "q",
            command=(*MAIN[:2], script),
            env={**os.environ, "REASONER_CACHE": str(tmp_path)},
        )
    )
    assert (ended.code, ended.out) == (4, "")
    assert "vLLM, which is not installed: run `" in ended.error
    assert all(
        part in ended.error
        for part in ("pip install 'reasoner-kit[", "--base-url", "--engine simulated")
    )


def test_a_prompt_beyond_the_context_window_says_by_how_much(run: Run) -> None:
    def ask(characters: int) -> tuple[int, str]:
        ended = run(
            "solve",
            "x" * characters,
            "-s",
            "single",
            "-a",
            "text",
            "-e",
            "openai",
            "--base-url",
            server.url,
        )
        return ended.code, ended.error

    with FakeServer(context=512) as server:
        code, error = ask(600)
        assert code == 2
        assert "the model's context window is 512" in error
        over = int(error.partition("shorten it by at least ")[2].partition(" ")[0])
        assert "the prompt is 512 tokens" in ask(600 - over + 1)[1]
        # One token fits, which is no answer: the window is no longer what is wrong.
        assert ask(600 - over)[0] == 1


def test_a_trace_is_overwritten_only_where_that_is_asked_for(
    run: Run, tmp_path: Path
) -> None:
    trace = tmp_path / "trace.jsonl"
    traced = (*SIMULATED, "--trace", str(trace))
    assert run("solve", "q", *traced).code == 0
    before = trace.read_bytes()
    again = run("solve", "q", *traced, "--seed", "1")
    assert (again.code, again.out, trace.read_bytes()) == (2, "", before)
    assert (
        again.error
        == f"error: the trace {trace} exists: name another file, or overwrite it with --overwrite"
    )
    played = (
        "solve",
        "q",
        "-e",
        f"replay:{trace}",
        "--trace",
        str(trace),
        "--overwrite",
    )
    assert "give it another name" in run(*played).error
    assert trace.read_bytes() == before
    assert run("solve", "q", *traced, "--seed", "1", "--overwrite").code == 0
    assert trace.read_bytes() != before
    assert (
        "has no effect without --trace"
        in run("solve", "q", *SIMULATED, "--overwrite").error
    )
