"""Bad input: one line that names the value and the way out, an exit code, nothing on standard output, no traceback."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from reasoner.engines.vllm.build import installed_build
from tests.cli.command import MAIN, Run, finish, start
from tests.engines.fake_server import FakeServer, Fault

SIMULATED = ("-e", "simulated")
SMALL_BUDGET = "budget tokens=10: the next operation needs 24 but 10 are left: raise it, or shorten the question"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["solve", "", *SIMULATED], 2, ["the question is empty", "pass - to read it from standard input"]),
        (["solve", " \t\n", *SIMULATED], 2, ["the question is empty"]),
        (["solve", "-", *SIMULATED], 2, ["the question is empty"]),
        (["solve", "caf\udcff", *SIMULATED], 2, ["the question is not UTF-8 text"]),
        (["solve", "a\0b", *SIMULATED], 2, ["the question is binary"]),
        (["solve", "q", *SIMULATED, "-s", "singel"], 2, ["no strategy named 'singel'", "did you mean 'single'?"]),
        (["solve", "q", *SIMULATED, "-s", ""], 2, ["no strategy named ''", "best_of_n"]),
        (["list", "-n", "8"], 2, ["no option of reasoner list named '-n'"]),
        (["solve", "q", *SIMULATED, "-s", "single:temprature=1"], 2, ["'temprature'", "did you mean 'temperature'?"]),
        (["solve", "q", *SIMULATED, "-s", "self_consistency:n=0"], 2, ["n must be from 1", "got 0"]),
        (["solve", "q", *SIMULATED, "-s", "best_of_n:n=-3"], 2, ["n must be from 1", "got -3"]),
        (["solve", "q", *SIMULATED, "-s", "self_consistency:n=many"], 2, ["n='many'", "integer"]),
        (["solve", "q", *SIMULATED, "-s", "self_consistency:n"], 2, ["'n' sets nothing", "n=8"]),
        (["solve", "q", *SIMULATED, "-s", "single:n=3"], 2, ["of strategy single named 'n'", "there are"]),
        (["solve", "q", *SIMULATED, "-s", "single:temperature=11"], 2, ["temperature must be from 0 to 10", "got 11"]),
        (["solve", "q", *SIMULATED, "-s", "best_of_n:selector=max"], 2, ["selector='max'", "argmax"]),
        (["solve", "q", *SIMULATED, "-s", "best_of_n", "--verifier", "certanty"], 2, ["did you mean 'certainty'?"]),
        (
            ["solve", "q", *SIMULATED, "--verifier", "certainty"],
            2,
            ["--verifier certainty has no effect", "self_consistency", "omit it"],
        ),
        (["solve", "q", *SIMULATED, "-b", "token=600"], 2, ["no budget unit named 'token'", "did you mean 'tokens'?"]),
        (["solve", "q", *SIMULATED, "-b", "600"], 2, ["'600' has no unit", "tokens=600"]),
        (["solve", "q", *SIMULATED, "-b", ""], 2, ["budget '' has no unit"]),
        (["solve", "q", *SIMULATED, "-b", "tokens=lots"], 2, ["tokens='lots' is not a number", "tokens=4k"]),
        *(
            (["solve", "q", *SIMULATED, *option.split()], 2, [complaint])
            for option, complaint in {
                "-b tokens=١٠": "tokens='١٠' is not a number",
                "-b seconds=１０": "seconds='１０' is not a number",
                "--prices prompt=٣,generated=1": "prompt='٣' is not a number",
                "-n ١٠": "'١٠' is not a valid integer",
                "--temperature ١": "'١' is not a valid float",
                "-s vote8:n=٣": "n='٣' does not fit",
                "-a math:seconds=٣": "٣",
                "--thinking ١٠": "a number of tokens",
                "-s a\u202eb\x07": r"named 'a\u202eb\x07'",
                "-e replay:a\u202eb\x07": "the trace a[U+202E]b[U+0007]:",
                f"-s {'x' * 300}": f"named '{'x' * 78}…",
                f"-b tokens={'x' * 300}": f"tokens='{'x' * 78}…",
                f"-n {'x' * 300}": f"'{'x' * 78}… is not a valid integer",
                f"--{'x' * 300} 1": f"named '--{'x' * 76}…",
                f"-e replay:{'x' * 300}": f"the trace {'x' * 80}…",
            }.items()
        ),
        (["solve", "q", *SIMULATED, "-b", "tokens=0"], 2, ["tokens=0 must be", "positive"]),
        (["solve", "q", *SIMULATED, "-b", "tokens=-5"], 2, ["tokens=-5 must be", "positive"]),
        (["solve", "q", *SIMULATED, "-b", "samples=1.5"], 2, ["samples=1.5 must be a whole number"]),
        (["solve", "q", *SIMULATED, "-b", "tokens=9,tokens=9"], 2, ["tokens is given twice"]),
        (["solve", "q", *SIMULATED, "-b", "tokens=10"], 3, [SMALL_BUDGET]),
        (["solve", "q", *SIMULATED, "-b", "tokens=40"], 3, ["budget tokens=40", "raise it"]),
        (["solve", "q", *SIMULATED, "-b", "usd=1"], 2, ["usd needs prices", "--prices prompt=USD,generated=USD"]),
        (["solve", "q", *SIMULATED, "--prices", "promt=1"], 2, ["no price named 'promt'", "did you mean 'prompt'?"]),
        (["solve", "q", *SIMULATED, "--prices", "prompt=1"], 2, ["prices need generated too"]),
        (["solve", "q", *SIMULATED, "--prices", "prompt=x,generated=1"], 2, ["prompt='x' is not a number"]),
        (["solve", "q", *SIMULATED, "--prices", "prompt=-1,generated=1"], 2, ["price prompt must be at least 0"]),
        (["solve", "q", *SIMULATED, "--prices", "prompt=1,prompt=2,generated=1"], 2, ["prompt is given twice"]),
        (["solve", "q", *SIMULATED, "--seed", "-1"], 2, ["--seed must be at least 0 (got -1)"]),
        (["solve", "q", *SIMULATED, "--seed", "x"], 2, ["'--seed'", "'x'", "integer"]),
        (["solve", "q", *SIMULATED, "-a", "numbr"], 2, ["'numbr'", "did you mean 'number'?"]),
        (["solve", "q", "-e", "simulate"], 2, ["no engine named 'simulate'", "did you mean 'simulated'?"]),
        (["solve", "q", "-e", "simulated:tokns=3"], 2, ["'tokns'", "did you mean 'tokens'?"]),
        (["solve", "q", "-e", "simulated:silent=2"], 2, ["silent must be from 0 to 1"]),
        (["solve", "q", *SIMULATED, "-m", "x"], 2, ["engine simulated takes no --model"]),
        (["solve", "q", *SIMULATED, "--base-url", "http://x"], 2, ["engine simulated takes no --base-url"]),
        (["solve", "q", "--base-url", f"http://{'x' * 300}"], 2, ["is not an HTTP address"]),
        (["solve", "q", "-e", "openai", "--base-url", "here"], 2, ["base_url='here'", "http://localhost:8000/v1"]),
        (["solve", "q", "-e", "openai:model_id=a", "-m", "b"], 2, ["--model and model_id", "keep one"]),
        (["solve", "q", "-e", "replay:missing.jsonl"], 2, ["missing.jsonl", "No such file"]),
        (["solve", "q", "-e", "replay"], 2, ["path"]),
        (["solve", "q", *SIMULATED, "--nope"], 2, ["'--nope'", "--strategy"]),
        (["solve", "q", *SIMULATED, "--strategyy", "single"], 2, ["'--strategyy'", "did you mean '--strategy'?"]),
        (["solve", "q", *SIMULATED, "-b"], 2, ["'-b' requires an argument"]),
        (["solve", *SIMULATED], 2, ["no question is given", 'reasoner solve "What is 3 + 4?"']),
        (["solve", "what", "is", "3+4", *SIMULATED], 2, ["one argument", "in quotes"]),
        (["slove", "q"], 2, ["no command named 'slove'", "did you mean 'solve'?"]),
        (["--nope"], 2, ["'--nope'", "--version"]),
        (["list"], 2, ["missing argument", "strategies"]),
        (["list", "strategy"], 2, ["no list named 'strategy'", "did you mean 'strategies'?"]),
        (["doctor", "-m", "embeded"], 2, ["no model named 'embeded'", "did you mean 'embedded'?"]),
        (["doctor", "-m", "a/b/c"], 2, ["no model named 'a/b/c'", "org/name"]),
        (["doctor", "extra"], 2, ["unexpected extra argument", "extra"]),
    ],
)
def test_bad_input(arguments: list[str], code: int, said: list[str], run: Run) -> None:
    ended = run(*arguments)
    assert (ended.code, ended.out) == (code, "")
    assert [part for part in said if part not in ended.error] == [], ended.error


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing.txt", None, "No such file"),
        (".", None, "Is a directory"),
        ("program", b"\x7fELF\0\0\0", "is binary"),
        ("latin1.txt", "café".encode("latin-1"), "is not UTF-8 text"),
        ("utf16.txt", "text".encode("utf-16"), "is binary"),
        ("empty.txt", b"", "is empty"),
        ("blank.txt", b" \n", "is empty"),
        ("huge.txt", b"a " * 5_000_001, "the limit is 10,000,000 bytes"),
        ("evil\n\x1b[31m.txt", None, "No such file"),
    ],
)
def test_a_context_that_cannot_be_used(name: str, content: bytes | None, said: str, run: Run, tmp_path: Path) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    ended = run("solve", "q", "--context", str(file), *SIMULATED)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.error
    assert "--context" in ended.error
    assert file.name.partition("\n")[0] in ended.error
    assert "\x1b" not in ended.error


def test_a_context_without_an_end_is_not_read(run: Run, tmp_path: Path) -> None:
    assert run("solve", "q", "--context", "/dev/zero", *SIMULATED).error.endswith("it is not a regular file")
    large = tmp_path / "large.txt"
    large.touch()
    os.truncate(large, 10_000_001)
    assert "the limit is 10,000,000 bytes" in run("solve", "q", "--context", str(large), *SIMULATED).error


@pytest.mark.parametrize(
    ("given", "said"), [(b"caf\xe9", "is not UTF-8"), (b"\0\1", "is binary"), (b" \n", "is empty")]
)
def test_standard_input_that_cannot_be_used(given: bytes, said: str, run: Run) -> None:
    ended = run("solve", "-", *SIMULATED, stdin=given)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.error


@pytest.mark.parametrize("by_context", [False, True])
def test_a_prompt_beyond_the_context_window_says_by_how_much(by_context: bool, run: Run, tmp_path: Path) -> None:
    document = tmp_path / "document.txt"

    def ask(characters: int) -> tuple[int, str]:
        document.write_text("x" * (characters if by_context else 1), encoding="utf-8")
        question = "q" if by_context else "x" * characters
        about = ("--context", str(document), "-e", "openai", "--base-url", server.url)
        ended = run("solve", question, "-s", "single", "-a", "text", *about)
        return ended.code, ended.error

    with FakeServer(context=512) as server:
        code, error = ask(600)
        assert code == 2
        assert "the model's context window is 512" in error
        over = int(error.partition("shorten it by at least ")[2].partition(" ")[0])
        code, error = ask(600 - over + 1)
        assert code == 2
        assert "the prompt is 512 tokens" in error
        assert "shorten it by at least 1 token or" in error
        # One token fits, which is no answer: the window is no longer what is wrong.
        assert ask(600 - over)[0] == 1


def test_samples_without_any_answer(run: Run) -> None:
    ended = run("solve", "q", "-e", "simulated:silent=1")
    assert (ended.code, ended.out) == (1, "")
    assert "none of 8 samples has an answer" in ended.error
    assert "the only sample has no answer" in run("solve", "q", "-e", "simulated", "-s", "single:max_tokens=1").error
    cut = run("solve", "q", "-e", "simulated:tokens=1e9", "-n", "3", "--max-tokens", "20").error
    assert "none of 3 samples has an answer: 3 of 3 samples were cut at max_tokens=20: raise --max-tokens" in cut


def test_a_deadline_before_any_answer(run: Run) -> None:
    with FakeServer(faults=[Fault("silent")]) as server:
        ended = run("solve", "q", "-s", "single", "-b", "seconds=0.2", "-e", "openai", "--base-url", server.url)
    assert (ended.code, ended.out) == (3, "")
    assert "budget seconds=0.2" in ended.error


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port that refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_a_server_that_is_down(run: Run, dead_port: int) -> None:
    url = f"http://127.0.0.1:{dead_port}/v1"
    ended = run("solve", "q", "-e", "openai:patience=0", "--base-url", url)
    assert (ended.code, ended.out) == (4, "")
    assert f"no answer from {url} in 1 try" in ended.error
    assert "start the server there, or set base_url" in ended.error


def test_a_model_that_the_server_does_not_have(run: Run) -> None:
    with FakeServer(models=("small", "large")) as server:
        ended = run("solve", "q", "-m", "smal", "-e", "openai", "--base-url", server.url)
    assert (ended.code, ended.out) == (2, "")
    assert "no model" in ended.error
    assert "did you mean 'small'?" in ended.error


@pytest.mark.process
@pytest.mark.skipif(installed_build() is None, reason="vLLM is not installed")
def test_a_model_that_vllm_cannot_find(tmp_path: Path) -> None:
    ended = finish(start("solve", "q", "-m", "embeded", env=_with_cache(tmp_path)))
    assert (ended.code, ended.out) == (2, "")
    assert "did you mean 'embedded'?" in ended.error


@pytest.mark.process
def test_vllm_that_is_not_installed(tmp_path: Path) -> None:
    script = """
import importlib.metadata as metadata
installed = metadata.version
def version(package):
    if package.startswith("vllm"):
        raise metadata.PackageNotFoundError(package)
    return installed(package)
metadata.version = version
from reasoner.cli import main
main()
"""
    ended = finish(start("solve", "q", command=(MAIN[0], "-c", script), env=_with_cache(tmp_path)))
    assert (ended.code, ended.out) == (4, "")
    assert "vLLM, which is not installed: run `" in ended.error
    assert all(part in ended.error for part in ("pip install 'reasoner-kit[", "--base-url", "--engine simulated"))


def test_a_trace_that_cannot_be_written_is_refused_before_anything_starts(run: Run, tmp_path: Path) -> None:
    for path in (tmp_path / "missing" / "trace.jsonl", tmp_path):
        ended = run("solve", "q", *SIMULATED, "--trace", str(path))
        assert (ended.code, ended.out) == (2, "")
        assert ended.err == ended.error + "\n"
        assert f"cannot write the trace {path}" in ended.error


def test_a_trace_is_not_overwritten_while_it_is_played_back(run: Run, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    assert run("solve", "q", *SIMULATED, "--trace", str(trace)).code == 0
    before = trace.read_bytes()
    ended = run("solve", "q", "-e", f"replay:{trace}", "--trace", str(trace))
    assert (ended.code, ended.out) == (2, "")
    assert "give it another name" in ended.error
    assert trace.read_bytes() == before
    overwriting = run("solve", "q", "-e", f"replay:{trace}", "--trace", str(trace), "--overwrite")
    assert (overwriting.code, trace.read_bytes()) == (2, before)
    assert run("solve", "q", "-e", f"replay:{trace}", "--trace", str(tmp_path / "again.jsonl")).code == 0


def test_a_trace_that_exists_is_overwritten_only_where_that_is_asked_for(run: Run, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    assert run("solve", "q", *SIMULATED, "--trace", str(trace)).code == 0
    before = trace.read_bytes()
    again = run("solve", "q", *SIMULATED, "--trace", str(trace), "--seed", "1")
    assert (again.code, again.out, trace.read_bytes()) == (2, "", before)
    assert again.error == f"error: the trace {trace} exists: name another file, or overwrite it with --overwrite"
    assert run("solve", "q", *SIMULATED, "--trace", str(trace), "--seed", "1", "--overwrite").code == 0
    assert trace.read_bytes() != before
    useless = run("solve", "q", *SIMULATED, "--overwrite")
    assert (useless.code, "has no effect without --trace" in useless.error) == (2, True)


def _with_cache(folder: Path) -> dict[str, str]:
    return {**os.environ, "REASONER_CACHE": str(folder)}
