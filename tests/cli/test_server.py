"""`reasoner solve --engine openai` from end to end, against a server on this machine."""

import json
from pathlib import Path

from tests.cli.command import Run
from tests.engines.fake_server import FakeServer, Fault


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
