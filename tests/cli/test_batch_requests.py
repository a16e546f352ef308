"""`reasoner batch` on OpenAI's batch format: the replies of a server, line by line."""

import json
from pathlib import Path
from typing import Any

import pytest
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from reasoner.serving.errors import INVALID
from tests.cli.command import Ended, Run
from tests.serving.asking import read_as

CHAT = "/v1/chat/completions"


def line(custom_id: str, url: str = CHAT, **body: Any) -> dict[str, Any]:
    asked: dict[str, Any] = {"model": "simulated", **body}
    if url == CHAT and "messages" not in body:
        asked["messages"] = [{"role": "user", "content": "What is 3 + 4?"}]
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": asked}


def batch(run: Run, folder: Path, given: list[Any], *options: str) -> Ended:
    text = "".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in given)
    (folder / "q.jsonl").write_text(text)
    return run("batch", str(folder / "q.jsonl"), "-e", "simulated:accuracy=1", *options)


def replies(text: str) -> dict[str | None, dict[str, Any]]:
    return {reply["custom_id"]: reply for reply in map(json.loads, text.splitlines())}


def test_each_line_is_answered_as_it_asks_in_the_form_of_openais_batches(run: Run, tmp_path: Path) -> None:
    given = [
        line("plain"),
        line("vote", reasoner={"strategy": "self_consistency:n=5", "answer": "number"}),
        line("alias", model="simulated@vote8"),
        line("several", n=3),
        line("response", "/v1/responses", input="What is 3 + 4?"),
    ]
    ended = batch(run, tmp_path, given)
    assert ended.code == 0
    found = replies(ended.out)
    assert set(found) == {each["custom_id"] for each in given}
    for reply in found.values():
        assert set(reply) == {"id", "custom_id", "response", "error"}
        assert reply["response"]["status_code"] == 200
        assert reply["error"] is None
    bodies = {name: reply["response"]["body"] for name, reply in found.items()}
    for name in ("plain", "vote", "alias", "several"):
        read_as(ChatCompletion, bodies[name])
    read_as(Response, bodies["response"])
    assert [len(bodies[name]["choices"]) for name in ("plain", "vote", "several")] == [1, 1, 3]
    assert bodies["vote"]["reasoner"]["cost"]["samples"] == 5
    assert bodies["vote"]["reasoner"]["answer"] == "7"
    assert bodies["alias"]["reasoner"]["cost"]["samples"] == 8
    assert bodies["plain"]["reasoner"]["cost"]["samples"] == 1


BAD = [
    (line("b", model="gpt-5"), 404, "no model named 'gpt-5'"),
    (line("b", temperature="hot"), 400, "temperature"),
    (line("b", stream=True), 400, "stream has no effect in a batch"),
    (line("b", reasoner={"strategy": "no_such"}), 400, "no_such"),
    (line("b", reasoner={"strategy": "self_consistency", "answer": "math:seconds=9"}), 400, "cannot be set by a request"),
    ({**line("b"), "url": "/v1/embeddings"}, 400, "q.jsonl:2: method must be POST and url one of"),
    ({**line("b"), "method": "GET"}, 400, "q.jsonl:2: method must be POST"),
    ({**line("b"), "body": []}, 400, "q.jsonl:2: body must be an object"),
    ({**line("b"), "custom_id": 7}, 400, "q.jsonl:2: custom_id must be a text"),
    ({"custom_id": "b"}, 400, "q.jsonl:2 has no method"),
    (line("a"), 400, "q.jsonl:2: the id 'a' is also that of an earlier row"),
    ("{", 400, "q.jsonl:2 is not JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("bad", "status", "error"), BAD, ids=[error[:36] for _, _, error in BAD])
def test_a_bad_line_has_the_error_that_a_server_gives(
    bad: Any, status: int, error: str, run: Run, tmp_path: Path
) -> None:
    ended = batch(run, tmp_path, [line("a"), bad, line("c")])
    assert ended.code == 1
    found = [json.loads(each) for each in ended.out.splitlines()]
    assert sorted(reply["response"]["status_code"] for reply in found) == sorted([200, status, 200])
    [wrong] = [reply["response"]["body"]["error"] for reply in found if reply["response"]["status_code"] != 200]
    assert error in wrong["message"]
    assert wrong["type"] == INVALID


def test_one_budget_bounds_all_lines_over_several_sessions(run: Run, tmp_path: Path) -> None:
    given = [line(f"r{index}", reasoner={"strategy": "self_consistency:n=2"}) for index in range(12)]
    answers = tmp_path / "a.jsonl"
    options = ("-o", str(answers), "--concurrency", "3")
    short = batch(run, tmp_path, given, *options, "-b", "samples=10")
    assert short.code == 3
    assert "the same command asks them again, and the budget may be raised" in short.error
    first = replies(answers.read_text())
    assert sum(reply["response"]["status_code"] == 429 for reply in first.values()) == 7
    assert batch(run, tmp_path, given, *options, "-b", "samples=24").code == 0
    second = replies(answers.read_text())
    assert len(second) == len(answers.read_text().splitlines()) == 12
    samples = [reply["response"]["body"]["reasoner"]["cost"]["samples"] for reply in second.values()]
    assert sum(samples) == 24
    kept = {name: reply for name, reply in first.items() if reply["response"]["status_code"] == 200}
    assert {name: second[name] for name in kept} == kept


def test_a_line_that_changed_after_its_answer_is_named(run: Run, tmp_path: Path) -> None:
    given = [line(f"r{index}", reasoner={"strategy": "self_consistency:n=2"}) for index in range(4)]
    options = ("-o", str(tmp_path / "a.jsonl"), "--concurrency", "1")
    assert batch(run, tmp_path, given, *options, "-b", "samples=4").code == 3
    changed = [line("r0", seed=1), *given[1:]]
    ended = batch(run, tmp_path, changed, *options, "-b", "samples=40")
    assert ended.code == 2
    assert "error: the line 'r0' has changed since it was answered" in ended.err
    moved = [given[3], line("r2", seed=1), *given[:2]]
    assert batch(run, tmp_path, moved, *options, "-b", "samples=40").code == 0
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 4


def test_the_same_seed_gives_the_same_replies_and_the_default_may_be_chosen(run: Run, tmp_path: Path) -> None:
    def votes() -> list[Any]:
        found = replies(batch(run, tmp_path, [line("a"), line("b")], "-s", "self_consistency:n=6").out)
        return [found[name]["response"]["body"]["reasoner"]["votes"] for name in ("a", "b")]

    assert votes() == (again := votes())
    assert [sum(vote["count"] for vote in each) for each in again] == [6, 6]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--system", "x"), "--system has no effect on OpenAI's batch format"),
        (("-n", "4"), "-n has no effect on OpenAI's batch format"),
        (("-o", "a.csv"), "must end in .jsonl for OpenAI's batch format"),
    ],
)
def test_options_without_effect_are_refused(options: tuple[str, ...], error: str, run: Run, tmp_path: Path) -> None:
    ended = batch(run, tmp_path, [line("a")], *options)
    assert (ended.code, ended.out) == (2, "")
    assert error in ended.error
