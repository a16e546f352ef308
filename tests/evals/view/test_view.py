"""`reasoner view`: what its pages show of runs, to whom, and how much memory that takes."""

import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from reasoner.journal.lines import sealed, sealed_line
from reasoner_evals.runs.reading import RIGHT
from reasoner_evals.runs.records import ItemRecord, RunFolder
from reasoner_evals.view.arms import ShownArm
from reasoner_evals.view.pages import QUESTIONS, SAMPLES, Pages
from reasoner_evals.view.server import OPEN, PageServer
from tests.browser import CHROMIUM, browser
from tests.cli.command import Run, finish, start
from tests.evals.cli.conftest import _plain_environment, run
from tests.evals.fabricated import GREEDY, VOTE, Fake, fabricate, gold, question_id
from tests.trace.tree.growing import Trace

__all__ = ["_plain_environment", "run"]

HOSTILE = "</pre><script>alert(1)</script>\u202egnp<img src=x onerror=alert(2)>\x1b[31m"
STICKING_OUT = """
[...document.querySelectorAll('main *')].filter(one => one.checkVisibility() && !one.closest('pre')
  && one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 200))
"""


def traced(path: Path, arm: Fake, traces: list[Trace]) -> None:
    """Write the trace of an arm, question after question."""
    lines = [sealed_line(event) for trace in traces for event in trace.events]
    RunFolder(path).arm(arm.folder).trace.write_bytes(b"".join(lines))


def shown(pages: Pages, address: str) -> str:
    """The main part of a page, which exists, as text."""
    status, html = pages(address)
    assert status == 200, html[-1000:]
    return " ".join(
        unescape(re.sub(r"<[^>]*>", " ", html[html.index("<main") :])).split()
    )


def listed(pages: Pages, address: str) -> list[int]:
    """The rows of the questions that a page lists."""
    return [
        int(row)
        for row in re.findall(
            r'class="question" dir="auto" href="/arm/\d+/(\d+)', pages(address)[1]
        )
    ]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A run of 60 questions, with one greedy sample and with a vote of eight."""
    return fabricate(tmp_path / "small", [GREEDY, VOTE])


def test_each_filter_lists_the_questions_for_which_it_holds(small: Path) -> None:
    pages = Pages([small])
    greedy, vote = pages._arms

    def record(arm: ShownArm, row: int) -> ItemRecord:
        found = arm.record(row)
        assert found
        assert found.question_id == question_id(row)
        return found

    wrong = [row for row in range(60) if record(vote, row).answer != gold(row)]
    expected = {
        "right": [row for row in range(60) if row not in wrong],
        "wrong": wrong,
        "missed": [
            row
            for row in wrong
            if gold(row) in {reply.answer for reply in record(vote, row).pool}
        ],
        "backfired": [row for row in wrong if record(greedy, row).answer == gold(row)],
        "undecided": [],
    }
    assert {name: listed(pages, f"/arm/1?show={name}") for name in expected} == expected
    assert expected["missed"]
    assert expected["backfired"]
    assert listed(pages, "/arm/1") + listed(pages, f"/arm/1?start={QUESTIONS}") == list(
        range(60)
    )
    # From one question to the next of the same filter.
    first, second = expected["missed"][:2]
    assert re.findall(
        r'href="([^"]*)" rel="next"', pages(f"/arm/1/{first}?show=missed")[1]
    )[0] == (f"/arm/1/{second}?show=missed")


def test_a_list_shows_the_accuracy_and_is_searched_and_sorted(small: Path) -> None:
    pages = Pages([small])
    vote = pages._arms[1]
    right = int((vote.data.outcome == RIGHT).sum())
    said = f"{100 * right / 60:.1f} % right ({right} of 60)"
    assert said in shown(pages, "/")
    assert said in shown(pages, "/arm/1")
    name = question_id(7)
    assert listed(pages, f"/arm/1?find={name.upper()}") == [7]
    assert listed(pages, "/arm/1?find=no+such+text") == []
    by_tokens = listed(pages, "/arm/1?sort=tokens") + listed(
        pages, f"/arm/1?sort=tokens&start={QUESTIONS}"
    )
    assert sorted(by_tokens) == list(range(60))
    assert (np.diff(vote.data.tokens[by_tokens]) <= 0).all()
    # A link keeps what was asked for, and the next question is the next of the list.
    first, second = by_tokens[:2]
    assert f"/arm/1/{first}?sort=tokens" in pages("/arm/1?sort=tokens")[1]
    assert (
        f'href="/arm/1/{second}?sort=tokens" rel="next"'
        in pages(f"/arm/1/{first}?sort=tokens")[1]
    )
    assert pages("/arm/1?sort=colour")[0] == 404


def test_what_has_no_answer_or_was_cut_is_undecided(run: Run, tmp_path: Path) -> None:
    where = str(tmp_path / "cut")
    asked = (
        "arithmetic",
        "--limit",
        "30",
        "-s",
        "self_consistency:n=2,max_tokens=20",
        "-e",
        "simulated:tokens=20",
    )
    assert run("eval", *asked, "--out", where).code == 0
    pages = Pages([Path(where)])
    cut, undecided = (
        listed(pages, "/arm/0?show=cut"),
        listed(pages, "/arm/0?show=undecided"),
    )
    assert set(undecided) < set(cut)
    assert undecided
    assert "truncated –" in shown(pages, f"/arm/0/{undecided[0]}")
    assert shown(pages, f"/arm/0/{undecided[0]}").count("cut at max_tokens") == 2


def test_two_runs_are_shown_side_by_side_question_by_question(
    small: Path, tmp_path: Path
) -> None:
    better = fabricate(
        tmp_path / "better",
        [GREEDY, Fake("self_consistency", pool=8, rule="majority", seed=1)],
        seed=1,
    )
    other = fabricate(tmp_path / "other", [GREEDY], edition=" Really?")
    pages = Pages([small, better, other])
    rights = [
        set(listed(pages, f"/arm/{arm}?show=right"))
        | set(listed(pages, f"/arm/{arm}?show=right&start={QUESTIONS}"))
        for arm in (1, 3)
    ]
    assert listed(pages, "/arm/1?beside=3&show=ahead") == sorted(rights[0] - rights[1])
    assert listed(pages, "/arm/1?beside=3&show=behind") == sorted(rights[1] - rights[0])
    row = min(rights[0] - rights[1])
    beside = shown(pages, f"/arm/1/{row}?beside=3")
    assert re.search(
        rf"Right: {gold(row)} .*seed 0 small .* right {gold(row)} .*seed 1 better .* wrong ",
        beside,
    )
    # Another wording is another question.
    assert pages("/arm/1?beside=4")[0] == 404
    assert "beside=3" in pages("/arm/1")[1]
    assert "beside=4" not in pages("/arm/1")[1]


def test_text_of_a_model_is_text_and_is_bounded(tmp_path: Path) -> None:
    path = fabricate(
        tmp_path / HOSTILE.replace("/", "|"), [VOTE], questions=2, edition=HOSTILE
    )
    trace = Trace(id=question_id(1), text=HOSTILE).begin()
    for _ in range(SAMPLES + 5):
        trace.draw("head", HOSTILE + "x" * 100_000, stop=None, answer=HOSTILE)
    traced(path, VOTE, [trace.end(HOSTILE)])
    record = RunFolder(path).arm(VOTE.folder).trace
    thinking = (
        b'"text":',
        b'"thinking":"' + "</details>\u2066deep".encode() + b'","text":',
    )
    lines = [
        re.sub(rb'"thinking":"",', b"", line)
        for line in record.read_bytes().splitlines()
    ]
    lines = [
        sealed(line[: line.rindex(b',"crc32"')].replace(*thinking, 1) + b"}")
        if b'"sampled"' in line
        else line + b"\n"
        for line in lines
    ]
    record.write_bytes(
        b"".join(sealed(line.rpartition(b',"crc32"')[0] + b"}") for line in lines)
    )
    pages = Pages([path])
    for address in (
        "/",
        "/arm/0",
        "/arm/0/1",
        f"/arm/0/1?start={SAMPLES}",
        "/arm/0/1/tree",
        f"/arm/0?show={HOSTILE}",
    ):
        _, html = pages(address)
        assert len(html) < 3_000_000
        assert not re.search(r"<(script|img)|[\u202e\u2066\x1b]", html)
    text = shown(pages, "/arm/0/1")
    assert "</pre><script>alert(1)</script>[U+202E]gnp" in text
    assert "Thinking </details>[U+2066]deep" in text
    assert "more characters, not shown" in text
    assert f"1 to {SAMPLES} of {SAMPLES + 5}" in text


@pytest.mark.parametrize("broken", [b'"text"', b'"question_id"'], ids=["content", "id"])
def test_a_damaged_line_of_a_trace_is_named_and_the_others_are_shown(
    broken: bytes, tmp_path: Path
) -> None:
    path = fabricate(tmp_path / "run", [VOTE], questions=2)
    traces = [Trace(id=question_id(number)).begin() for number in range(2)]
    for trace in traces:
        trace.draw("head", f"first of {trace.id}", stop=None, answer="7")
        trace.draw("head", f"second of {trace.id}", stop=None, answer="8")
    traced(path, VOTE, [trace.end() for trace in traces])
    file = RunFolder(path).arm(VOTE.folder).trace
    lines = file.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(broken, broken[:2] + b"X" + broken[3:])
    # The writer was killed in the last line.
    file.write_bytes(b"".join(lines) + lines[-1][:-5])
    pages = Pages([path])
    text = shown(pages, "/arm/0/0")
    assert (
        f"{file}:4 is damaged" in text
        if broken == b'"text"'
        else f"{file} has 1 damaged line," in text
    )
    assert "first of q000000" in text
    assert "second of" not in text
    assert "second of q000001" in shown(pages, "/arm/0/1")


@pytest.mark.parametrize(
    "address",
    [
        "/arm",
        "/arm/2",
        "/arm/0/60",
        "/arm/0?show=none",
        "/arm/0?start=-1",
        "/arm/0?beside=0",
        "/../manifest.json",
        "/arm/0/1/trace.jsonl",
        "//arm/0",
        "/arm/٣",
    ],
)
def test_there_is_no_other_page(address: str, small: Path) -> None:
    status, html = Pages([small])(address)
    assert status == 404
    assert "<h1" in html


GROWTH = """
import re, sys
from pathlib import Path
from reasoner_evals.view.pages import Pages

def used():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024

Pages([Path(sys.argv[1])])("/arm/0/0/tree")
before = used()
pages = Pages([Path(sys.argv[2])])
for address in ("/", "/arm/0?show=missed", "/arm/0?start=12450", "/arm/0/12499", "/arm/0/12499/tree"):
    assert pages(address)[0] == 200, address
print(used() - before)
"""


def large(path: Path, questions: int) -> Path:
    """A run with eight samples of each question, and the size of its trace."""
    fabricate(path, [VOTE], questions=questions)
    trace = Trace(id=question_id(0)).begin()
    for _ in range(8):
        trace.draw("head", "so " * 300, stop=None, answer="7")
    lines = [event.model_dump_json().encode() for event in trace.end().events]
    with RunFolder(path).arm(VOTE.folder).trace.open("wb") as file:
        for number in range(questions):
            own = question_id(number).encode()
            file.writelines(sealed(line.replace(b"q000000", own)) for line in lines)
    return path


@pytest.mark.slow
def test_a_hundred_thousand_samples_take_little_memory(tmp_path: Path) -> None:
    few, many = large(tmp_path / "few", 100), large(tmp_path / "many", 12_500)
    assert sum(file.stat().st_size for file in many.rglob("*.jsonl")) > 130e6
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, few, many],
        capture_output=True,
        text=True,
        check=True,
    )
    # In MiB; the events alone would take several hundred.
    assert int(done.stdout) < 48, done.stdout


def test_the_command_serves_this_machine_alone_until_it_is_interrupted(
    small: Path,
) -> None:
    process = start("view", str(small))
    assert process.stdout
    address = process.stdout.readline().strip()
    try:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        with httpx.Client(trust_env=False, base_url=address) as client:
            first = client.get("/")
            assert first.status_code == 200
            assert "60 questions" in first.text
            link = unescape(re.findall(r'href="([^"]*show=wrong)"', first.text)[0])
            [question, *_] = re.findall(
                r'class="question" dir="auto" href="([^"]*)"', client.get(link).text
            )
            assert client.get(unescape(question)).status_code == 200
            assert (
                client.get("/", headers={"Host": "attacker.example"}).status_code == 403
            )
            assert client.post("/").status_code == 501
            assert client.get("/../../../etc/passwd").status_code == 404
    finally:
        process.send_signal(signal.SIGINT)
        ended = finish(process)
    assert (ended.code, ended.err) == (0, "Ctrl-C ends it\n")


def test_what_cannot_be_viewed_is_said_in_a_line(run: Run, small: Path) -> None:
    assert "missing argument 'RUN...'" in run("view").error
    assert "is given twice" in run("view", str(small), str(small)).error
    assert run("view", str(small / "none")).code == 2


@pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on the PATH: apt-get install chromium"
)
@pytest.mark.process
def test_the_pages_fit_at_both_widths_and_ask_for_nothing(tmp_path: Path) -> None:
    long = Fake(
        "self_consistency", pool=8, rule="majority", budget="tokens=" + "9" * 80
    )
    path = fabricate(
        tmp_path / ("w" * 90), [VOTE, long], questions=60, edition="x" * 300
    )
    traced(path, VOTE, [Trace(id=question_id(0)).begin().end()])
    pages, file = Pages([path]), tmp_path / "page.html"
    with browser() as tab:
        for address in ("/", "/arm/0?beside=1", "/arm/0/0?beside=1"):
            file.write_text(pages(address)[1], encoding="utf-8")
            for width in (390, 1280):
                tab.open(file, width=width, dark=width == 390)
                assert tab.value("document.documentElement.scrollWidth") <= width
                assert tab.value(STICKING_OUT) == []
                assert (tab.logged, tab.requested) == ([], [file.as_uri()])


def test_a_hundred_connections_have_sixteen_threads_and_all_are_answered() -> None:
    clients, accepted, asked = 100, threading.Semaphore(0), threading.Event()

    class Watched(PageServer):
        def process_request(self, request: Any, client_address: Any) -> None:
            super().process_request(request, client_address)
            accepted.release()

    def render(path: str) -> tuple[int, str]:
        asked.wait()
        return 200, path

    with Watched(render, 0) as server, ExitStack() as stack:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        stack.callback(serving.join)
        stack.callback(server.shutdown)
        stack.callback(asked.set)
        port = server.server_address[1]
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            for _ in range(clients)
        ]
        for number, connection in enumerate(connections):
            connection.sendall(
                f"GET /{number} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()
            )
        for _ in range(OPEN):
            accepted.acquire()
        assert not server._places.acquire(blocking=False)
        asked.set()
        answers = [connection.makefile("rb").read() for connection in connections]
    assert [int(answer.rpartition(b"/")[2]) for answer in answers] == list(
        range(clients)
    )
