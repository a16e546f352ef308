"""`reasoner solve --engine openai` from end to end, against a server on this machine."""

import json
from pathlib import Path

from tests.cli.command import Run
from tests.engines.fake_server import FakeServer, Fault


def test_a_vllm_server_gets_token_ids_and_its_cache_is_told(run: Run) -> None:
    with FakeServer(cached=16) as server:
        ended = run("solve", "How many?", "-e", "openai", "--base-url", server.url, "-m", "tiny", "--json")
        [first, *_] = bodies = server.sent("/v1/completions")
    found = json.loads(ended.out)
    assert (ended.code, found["answer"]["text"], found["votes"][0]["count"]) == (0, "4", 8)
    assert len(bodies) == 8
    assert len({body["seed"] for body in bodies}) == 8
    assert isinstance(first["prompt"][0], int)
    assert found["cost"]["cached_tokens"] == 8 * 16
    assert found["cost"]["generated_tokens"] == 8 * 5
    assert (found["engine"], found["model"]) == (f"openai at {server.url}", "tiny")
    assert not [note for note in found["notes"] if "token-exact" in note]


def test_a_plain_server_gets_text_and_the_notes_say_what_it_lacks(run: Run) -> None:
    with FakeServer(vllm=False, reports_cached=False, owner="someone") as server:
        ended = run("solve", "How many?", "-e", "openai", "--base-url", server.url)
        [first, *_] = server.sent("/v1/chat/completions")
    assert (ended.code, ended.out) == (0, "4\n")
    assert first["messages"][0]["content"].startswith("How many?")
    notes = [line for line in ended.err.splitlines() if line.startswith("note ")]
    assert [note for note in notes if "continuation is not token-exact" in note]
    assert [note for note in notes if "no cached tokens" in note]


def test_strategy_options_reach_the_server(run: Run) -> None:
    with FakeServer() as server:
        strategy = r'single:temperature=0.3,max_tokens=9,top_p=0.5,stop=[END,"\n"]'
        assert run("solve", "How many?", "-s", strategy, "-e", "openai", "--base-url", server.url).code == 0
        [body] = server.sent("/v1/completions")
    assert (body["temperature"], body["max_tokens"], body["top_p"]) == (0.3, 9, 0.5)
    assert body["stop"] == ["END", "\n"]


def test_a_budget_bounds_what_the_server_is_asked_for(run: Run) -> None:
    with FakeServer() as server:
        asked = ("solve", "How many?", "-b", "samples=3", "-e", "openai", "--base-url", server.url)
        ended = run(*asked)
        assert len(server.sent("/v1/completions")) == 3
    assert (ended.code, ended.out) == (0, "4\n")
    assert "budget   samples 3 of 3; " in ended.err


def test_a_server_that_fails_for_a_moment_is_asked_again(run: Run) -> None:
    with FakeServer(faults=[Fault("status", 500, "out of order")]) as server:
        ended = run("solve", "How many?", "-s", "single", "-e", "openai", "--base-url", server.url)
        assert len(server.sent("/v1/completions")) == 2
    assert (ended.code, ended.out) == (0, "4\n")


def test_a_server_that_goes_on_failing_is_an_engine_failure(run: Run) -> None:
    with FakeServer(faults=[Fault("status", 500, "out of order")]) as server:
        ended = run("solve", "How many?", "-s", "single", "-e", "openai:patience=0", "--base-url", server.url)
    assert (ended.code, ended.out) == (4, "")
    assert "500 (out of order)" in ended.error
    assert "try later" in ended.error


def test_a_failure_after_some_samples_keeps_the_best_answer(run: Run) -> None:
    with FakeServer(faults=[Fault("status", 400, "too hot")]) as server:
        reply = {
            "choices": [{"index": 0, "text": "The answer is 4", "finish_reason": "stop", "token_ids": [1]}],
            "usage": {"prompt_tokens": 42, "completion_tokens": 1},
        }
        server.faults.insert(0, Fault("send", body=json.dumps(reply)))
        asked = ("solve", "How many?", "-s", "self_consistency:n=2", "-b", "tokens=580")
        ended = run(*asked, "-e", "openai", "--base-url", server.url)
    assert (ended.code, ended.out) == (2, "")
    assert "400 (too hot)" in ended.error
    assert ended.err.splitlines()[-2] == "so far   4 (1 of 1 vote); not the final answer, as the run failed"


def test_a_base_url_alone_means_a_server(run: Run, tmp_path: Path) -> None:
    with FakeServer() as server:
        solved = run("solve", "How many?", "--base-url", server.url)
        task = tmp_path / "q.jsonl"
        task.write_text('{"question": "How many?", "answer": "4"}\n')
        rated = run("eval", f"jsonl:{task}", "-s", "single", "--base-url", server.url, "--out", str(tmp_path / "run"))
    assert (solved.code, solved.out) == (0, "4\n")
    assert rated.code == 0, rated.err
    refused = run("solve", "How many?", "-e", "vllm", "--base-url", server.url)
    assert (refused.code, refused.error) == (2, "error: engine vllm takes no --base-url: omit it")
