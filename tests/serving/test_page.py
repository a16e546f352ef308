"""The server's page in a real browser, against a server that sends what a test writes."""

import re
from collections.abc import Iterator

import pytest
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.testclient import TestClient

from reasoner import Question, build
from reasoner.answers.kinds import SPACES
from reasoner.engines.simulated import SimulatedEngine
from reasoner.execution.runner import solve_sync
from reasoner.serving.page import FOLDER
from tests.browser import CHROMIUM, Page, browser
from tests.serving.canned import KEY, Canned, chunk
from tests.serving.live import live

in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH: apt-get install chromium")
pytestmark = pytest.mark.process

WIDTHS = (390, 1280)
HOSTILE = (
    "<script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\">\x1b[31m\u202eevil\u2066\0"
)
STICKING_OUT = """
[...document.querySelectorAll('main *')].filter(each => each.checkVisibility()
  && !each.closest('pre, .only-read, option') && each.getBoundingClientRect().right > innerWidth + 1)
  .map(each => each.outerHTML.slice(0, 200))
"""
SMALL_TARGETS = """
[...document.querySelectorAll('button, select, textarea, input')].filter(each => each.checkVisibility()
  && Math.max(each.getBoundingClientRect().height, each.closest('label')?.getBoundingClientRect().height ?? 0) < 24)
  .map(each => each.id)
"""
UNNAMED = """
[...document.querySelectorAll('button, select, textarea, input')]
  .filter(each => !(each.labels?.length || each.textContent.trim())).map(each => each.id)
"""
CONTRAST = """
(() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(Number).map(part => part / 255)
      .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (each) => {
    for (let at = each; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (!colour.endsWith(', 0)')) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  return [...document.querySelectorAll('body *')].filter(each => each.checkVisibility()
      && [...each.childNodes].some(node => node.nodeType === 3 && node.data.trim())).map(each => {
    const [a, b] = [getComputedStyle(each).color, behind(each)].map(light);
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), each.outerHTML.slice(0, 120)];
  }).filter(([ratio]) => ratio < 4.5);
})()
"""


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    with browser() as opened:
        yield opened


@pytest.fixture
def canned() -> Canned:
    return Canned()


def opened(tab: Page, address: str, *, width: int = 1280, dark: bool = False) -> None:
    tab.open(f"{address}/", width=width, dark=dark)
    tab.wait("document.querySelectorAll('#strategy-0 option').length || !document.getElementById('problem').hidden")


def asked(tab: Page, *, compare: bool = False) -> None:
    """Ask, as with the keyboard, and wait until all results are complete."""
    if compare:
        tab.value("document.getElementById('compare').click()")
    tab.value("document.getElementById('ask').requestSubmit()")
    tab.wait("[...document.querySelectorAll('#results section')].every(each => each.ariaBusy === 'false')")
    tab.wait("!document.getElementById('submit').disabled")


def text(tab: Page, selector: str) -> str:
    return str(tab.value(f"document.querySelector({selector!r}).textContent"))


def vote_stream(answer: str = "408", *, tokens: int = 800, **report: object) -> list[str]:
    votes = [{"answer": answer, "count": 5, "weight": 5.0}, {"answer": "409", "count": 3, "weight": 3.0}]
    return [
        chunk(reasoner={"samples": 1, "votes": votes[:1], "cost": {"tokens": 90}}),
        chunk(f"The answer is {answer}"),
        chunk(finish="stop", reasoner={"answer": answer, "samples": 8, "votes": votes, "cost": {"tokens": tokens},
              "ended_by": "strategy", "reason": "the strategy finished", "confidence": 0.9, **report}),
        "data: [DONE]\n\n",
    ]  # fmt: skip


def test_every_file_comes_with_a_strict_policy(canned: Canned) -> None:
    with TestClient(canned.app) as client:
        for path in ("/", "/page/style.css", "/page/app.js"):
            reply = client.get(path)
            assert reply.status_code == 200
            policy = reply.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';")
            assert "unsafe" not in policy
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert reply.headers["referrer-policy"] == "no-referrer"


def test_the_page_names_no_other_host_and_holds_no_script_of_its_own() -> None:
    for file in FOLDER.iterdir():
        assert not re.search(r"https?:|//[a-z]", file.read_text().replace("// ", "")), file.name
    page = (FOLDER / "index.html").read_text()
    assert not re.search(r"<script[^>]*>[^<]|<style| style=| on\w+=", page)
    script = (FOLDER / "app.js").read_text()
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|localStorage|sessionStorage", script
    )


def test_every_kind_of_answer_can_be_chosen() -> None:
    page = (FOLDER / "index.html").read_text()
    [options] = re.findall(r'<select id="kind">(.*?)</select>', page, re.DOTALL)
    assert set(re.findall(r'value="(\w+)"', options)) == set(SPACES)


@in_browser
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_two_strategies_are_compared(tab: Page, canned: Canned, width: int, dark: bool) -> None:
    trace = canned.traces.open()
    solve_sync(
        Question.of("What is 17 * 24?"), build("strategy", "self_consistency:n=8"), SimulatedEngine(), trace=trace
    )
    canned.streams = {
        "m@vote8": vote_stream(trace=trace.id),
        "m@vote16": vote_stream(tokens=1600, notes=["w" * 400], saved=2),
    }
    with live(canned.app) as address:
        opened(tab, address, width=width, dark=dark)
        tab.value("document.getElementById('compare').click()")
        tab.value("document.getElementById('strategy-1').selectedIndex = 2")
        asked(tab)
        assert text(tab, "#verdict") == "The same answer: vote16 computed 2.0 times the tokens of vote8."
        assert text(tab, ".headline") == "408"
        assert tab.value(
            "[...document.querySelectorAll('.votes')[0].querySelectorAll('.count')].map(each => each.textContent)"
        ) == ["5 votes", "3 votes"]
        bars = tab.value(
            "[...document.querySelectorAll('.votes')[0].querySelectorAll('i')].map(each => each.offsetWidth)"
        )
        assert bars[1] / bars[0] == pytest.approx(0.6, abs=0.05)
        assert (
            text(tab, ".facts") == "confidence90 %samples8tokens computed800ended by the strategythe strategy finished"
        )
        assert text(tab, "#spoken") == "vote8: 408 for 800 tokens. vote16: 408 for 1,600 tokens"
        tops = tab.value(
            "[...document.querySelectorAll('#results section')].map(each => each.getBoundingClientRect().top)"
        )
        assert (tops[0] == tops[1]) == (width == 1280)
        assert tab.value("document.documentElement.scrollWidth") <= width
        assert tab.value(STICKING_OUT) == []
        assert tab.value(SMALL_TARGETS) == []
        assert tab.value(UNNAMED) == []
        assert tab.value(CONTRAST) == []
        assert tab.logged == []
        assert all(url.startswith(address) for url in tab.requested)
        tab.open(tab.value("document.querySelector('.tree a').href"), width=width, dark=dark)
        assert "What is 17 * 24?" in text(tab, "main")
        assert tab.value("document.documentElement.scrollWidth") <= width
        assert tab.logged == []


@in_browser
@pytest.mark.parametrize("width", WIDTHS)
def test_what_a_model_wrote_is_text(tab: Page, canned: Canned, width: int) -> None:
    votes = [{"answer": HOSTILE, "count": 2, "weight": 2.0}, {"answer": "x" * 5000, "count": 1, "weight": 1.0}]
    stream = [
        chunk(HOSTILE),
        *(chunk("w" * 10_000) for _ in range(100)),
        chunk(finish="stop", reasoner={"answer": HOSTILE, "votes": votes, "reason": HOSTILE, "ended_by": HOSTILE,
              "notes": [HOSTILE, "y" * 9000], "samples": 3, "cost": {"tokens": 1}}),
        "data: [DONE]\n\n",
    ]  # fmt: skip
    canned.streams = {"m@vote8": stream}
    with live(canned.app) as address:
        opened(tab, address, width=width)
        asked(tab)
        assert tab.value("document.title") == "Ask · reasoner"
        assert tab.value("document.querySelectorAll('#results :is(script, img)').length") == 0
        shown = "<script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\">[U+001B][31m[U+202E]evil[U+2066][U+0000]"
        assert text(tab, ".headline") == shown
        assert text(tab, ".votes .answer") == shown
        assert text(tab, ".reply pre").startswith(shown + "www")
        assert len(text(tab, "#results")) < 25_000
        assert "more characters, not shown" in text(tab, ".reply .note")
        assert tab.value("document.documentElement.scrollWidth") <= width
        assert tab.value(STICKING_OUT) == []
        assert tab.logged == []
        assert all(url.startswith(address) for url in tab.requested)


@in_browser
@pytest.mark.parametrize(
    ("answers", "verdict"),
    [
        (("7", "8"), "7 and 8: vote16 computed 2.0 times the tokens of vote8."),
        (("7", "x" * 150), "Tokens: vote16 computed 2.0 times the tokens of vote8."),
        (("two\nlines", "two\nlines"), "Tokens: vote16 computed 2.0 times the tokens of vote8."),
    ],
    ids=["different", "long", "several lines"],
)
def test_answers_are_compared_where_they_fit_in_a_line(
    tab: Page, canned: Canned, answers: tuple[str, str], verdict: str
) -> None:
    canned.streams = {"m@vote8": vote_stream(answers[0]), "m@vote16": vote_stream(answers[1], tokens=1600)}
    with live(canned.app) as address:
        opened(tab, address)
        tab.value("document.getElementById('strategy-1').selectedIndex = 2")
        asked(tab, compare=True)
        assert text(tab, "#verdict") == verdict
        headlines = "[...document.querySelectorAll('.headline')].map(each => each.checkVisibility())"
        assert tab.value(headlines) == ["\n" not in answer for answer in answers]


@in_browser
@pytest.mark.parametrize(
    ("failure", "line"),
    [
        (JSONResponse({"error": {"message": "the queue is full:\ntry again in 3 s"}}, 429), "the queue is full: try again in 3 s"),
        (PlainTextResponse("<html>Bad Gateway", 502), "the server answered with status 502"),
    ],
    ids=["ours", "a proxy's"],
)  # fmt: skip
def test_an_error_of_the_server_is_a_line(tab: Page, canned: Canned, failure: JSONResponse, line: str) -> None:
    canned.failure = failure
    with live(canned.app) as address:
        opened(tab, address, width=390)
        asked(tab)
        assert text(tab, "#results .error") == line
        assert text(tab, "#spoken") == f"vote8: {line}"
        assert tab.value("document.querySelector('.headline').checkVisibility()") is False


@in_browser
@pytest.mark.parametrize(
    ("stream", "line"),
    [
        ([chunk("The "), 'data: {"error": {"message": "the engine died"}}\n\n'], "the engine died"),
        ([chunk("The ")], "the connection ended before the answer was complete"),
        ([chunk("The "), "data: {nonsense\n\n"], "the connection broke before the answer was complete"),
        ([], "the connection ended before the answer was complete"),
    ],
    ids=["an error in it", "cut off", "not JSON", "empty"],
)
def test_a_stream_that_fails_is_a_line(tab: Page, canned: Canned, stream: list[str], line: str) -> None:
    canned.streams = {"m@vote8": stream}
    with live(canned.app) as address:
        opened(tab, address)
        asked(tab)
        assert text(tab, "#results .error") == line
        asked(tab)
        assert len(canned.asked) == 2


@in_browser
def test_a_key_stays_in_memory_and_opens_the_tree_of_its_owner(tab: Page) -> None:
    canned = Canned(keys=True)
    trace = canned.traces.open("owner")
    solve_sync(Question.of("What is 17 * 24?"), build("strategy", "single"), SimulatedEngine(), trace=trace)
    canned.streams = {"m@vote8": vote_stream(trace=trace.id)}
    with live(canned.app) as address:
        opened(tab, address)
        assert text(tab, "#problem") == "no API key is given"
        tab.value(
            f"const key = document.getElementById('key'); key.value = '{KEY}'; key.dispatchEvent(new Event('change'))"
        )
        tab.wait("document.getElementById('problem').hidden")
        asked(tab)
        assert text(tab, ".headline") == "408"
        assert (
            tab.value("JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])").count(KEY) == 0
        )
        assert all(KEY not in url for url in tab.requested)
        # In this tab, where the test can see it, and not in a new one.
        tab.value("const submit = HTMLFormElement.prototype.submit;"
                  "HTMLFormElement.prototype.submit = function () { this.target = '_self'; submit.call(this); }")  # fmt: skip
        tab.follow("document.querySelector('.tree a').click()")
        assert tab.value("location.pathname") == f"/v1/reasoner/traces/{trace.id}"
        assert "What is 17 * 24?" in text(tab, "main")
        assert KEY not in tab.value("location.href")


def test_a_trace_is_given_as_a_page_and_as_a_file() -> None:
    canned = Canned()
    trace = canned.traces.open()
    solve_sync(Question.of("What is 17 * 24?"), build("strategy", "single"), SimulatedEngine(), trace=trace)
    with TestClient(canned.app) as client:
        page = client.get(f"/v1/reasoner/traces/{trace.id}")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'unsafe-inline';")
        assert "What is 17 * 24?" in page.text
        file = client.get(f"/v1/reasoner/traces/{trace.id}.jsonl")
        assert file.headers["content-type"] == "application/jsonl"
        assert file.content == trace.lines()
        described = client.get("/openapi.json").json()["paths"]
        assert set(described["/v1/reasoner/traces/{trace_id}"]) == {"get"}
        assert "/page/app.js" not in described


def test_a_trace_of_somebody_else_is_refused() -> None:
    canned = Canned(keys=True)
    path = f"/v1/reasoner/traces/{canned.traces.open('somebody else').id}"
    known = {"Authorization": f"Bearer {KEY}"}
    with TestClient(canned.app) as client:
        for name in (path, f"{path}.jsonl"):
            assert client.get(name).status_code == 401
            assert client.get(name, headers=known).status_code == 404
        assert client.post(path, data={"key": KEY}).status_code == 404
        assert client.post(path, data={"key": "x"}).status_code == 401
        assert client.post(path, data={"key": "x" * 5000}).status_code == 413
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        assert client.post(path, content=b"\xff\xfe%zz", headers=form).status_code == 401
        assert client.post(path, json={"key": KEY}).status_code == 415


@in_browser
def test_it_is_used_with_the_keyboard(tab: Page, canned: Canned) -> None:
    canned.streams = {"m@vote8": vote_stream()}
    with live(canned.app) as address:
        opened(tab, address)
        order = []
        for _ in range(7):
            tab.press("Tab")
            order.append(tab.value("document.activeElement.id || document.activeElement.className"))
        assert order == ["skip", "question", "strategy-0", "effort-0", "kind", "compare", "submit"]
        tab.value("document.getElementById('question').focus()")
        tab.press("Enter", control=True)
        tab.wait("document.querySelector('.headline')?.textContent === '408'")
