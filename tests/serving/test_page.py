"""The server's page in a real browser: on the real server, and on one that sends what a test writes."""

import asyncio
import re
from collections.abc import Iterator

import httpx
import pytest
from starlette.responses import JSONResponse, Response

from reasoner.answers.kinds import SPACES
from reasoner.engine import SampleRequest
from reasoner.serving.page import FOLDER
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import says
from tests.browser import CHROMIUM, Page, browser
from tests.serving.canned import Canned, chunk
from tests.serving.running import serving

in_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on the PATH: apt-get install chromium"
)
pytestmark = pytest.mark.process

HOSTILE = "<script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\">\x1b[31m\u202eevil\u2066\0"
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


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    with browser() as opened:
        yield opened


def opened(tab: Page, address: str, *, width: int = 1280) -> None:
    tab.open(f"{address}/", width=width)
    tab.wait(
        "document.querySelectorAll('#strategy-0 option').length || !document.getElementById('problem').hidden"
    )


def asked(tab: Page) -> None:
    """Ask, as with the keyboard, and wait until all results are complete."""
    tab.value("document.getElementById('ask').requestSubmit()")
    tab.wait(
        "[...document.querySelectorAll('#results section')].every(each => each.ariaBusy === 'false')"
    )
    tab.wait("!document.getElementById('submit').disabled")


def text(tab: Page, selector: str) -> str:
    return str(tab.value(f"document.querySelector({selector!r}).textContent"))


def vote_stream(
    answer: str = "408", *, tokens: int = 800, **report: object
) -> list[str]:
    votes = [
        {"answer": answer, "count": 5, "weight": 5.0},
        {"answer": "409", "count": 3, "weight": 3.0},
    ]
    return [
        chunk(reasoner={"samples": 1, "votes": votes[:1], "cost": {"tokens": 90}}),
        chunk(f"The answer is {answer}"),
        chunk(
            finish="stop",
            reasoner={
                "answer": answer,
                "samples": 10,
                "votes": votes,
                "cost": {"tokens": tokens},
                "ended_by": "strategy",
                "reason": "the strategy finished",
                "confidence": 0.9,
                **report,
            },
        ),
        "data: [DONE]\n\n",
    ]


def check_layout(tab: Page, width: int, address: str) -> None:
    """Nothing sticks out or is too small or unnamed; nothing is logged, and no other host is asked."""
    assert tab.value("document.documentElement.scrollWidth") <= width
    for script in (STICKING_OUT, SMALL_TARGETS, UNNAMED):
        assert tab.value(script) == []
    assert tab.logged == []
    assert all(url.startswith(address) for url in tab.requested)


def test_every_file_has_a_strict_policy_and_names_no_other_host_and_no_script_of_its_own() -> (
    None
):
    with Canned().live() as address:
        for path in ("/", "/page/style.css", "/page/app.js"):
            reply = httpx.get(f"{address}{path}")
            assert reply.status_code == 200
            policy = reply.headers["content-security-policy"]
            assert policy.startswith(
                "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
            )
            assert "unsafe" not in policy
            assert reply.headers["referrer-policy"] == "no-referrer"
    for file in FOLDER.iterdir():
        assert not re.search(r"https?:|//[a-z]", file.read_text().replace("// ", "")), (
            file.name
        )
    page = (FOLDER / "index.html").read_text()
    assert not re.search(r"<script[^>]*>[^<]|<style| style=| on\w+=", page)
    script = (FOLDER / "app.js").read_text()
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|localStorage|sessionStorage",
        script,
    )
    [options] = re.findall(r'<select id="kind">(.*?)</select>', page, re.DOTALL)
    assert set(re.findall(r'value="(\w+)"', options)) == set(SPACES)


@in_browser
@pytest.mark.parametrize(
    ("answers", "verdict", "width"),
    [
        (
            ("408", "408"),
            "The same answer: vote8 (800 tokens), vote16 (1,600 tokens)",
            1280,
        ),
        (
            ("two\nlines", "x" * 150),
            "vote8 (800 tokens): a reply; vote16 (1,600 tokens): a reply",
            390,
        ),
    ],
    ids=["same", "long"],
)
def test_two_strategies_are_compared(
    tab: Page, answers: tuple[str, str], verdict: str, width: int
) -> None:
    canned = Canned()
    second = vote_stream(answers[1], tokens=1600, notes=["w" * 400], saved=2)
    canned.streams = {"m@vote8": vote_stream(answers[0]), "m@vote16": second}
    with canned.live() as address:
        opened(tab, address, width=width)
        tab.value("document.getElementById('compare').click()")
        tab.value("document.getElementById('strategy-1').selectedIndex = 2")
        asked(tab)
        assert text(tab, "#verdict") == verdict
        headlines = "[...document.querySelectorAll('.headline')].map(each => each.checkVisibility())"
        assert tab.value(headlines) == ["\n" not in answer for answer in answers]
        bars = tab.value(
            "[...document.querySelectorAll('.votes')[0].querySelectorAll('i')].map(each => each.offsetWidth "
            "/ each.parentElement.offsetWidth)"
        )
        assert bars == pytest.approx([5 / 10, 3 / 10], abs=0.02)
        counts = tab.value(
            "[...document.querySelectorAll('.votes')[0].querySelectorAll('.count')].map(each => each.textContent)"
        )
        assert counts == ["5 of 10", "3 of 10"]
        # Nobody has said that an answer is right.
        colours = "getComputedStyle(document.querySelector({!r})).color"
        assert tab.value(f"{colours.format('.headline')} === {colours.format('main')}")
        assert (
            text(tab, ".facts")
            == "confidence90 %samples10tokens computed800endthe strategy finished"
        )
        assert "for 800 tokens. vote16: " in text(tab, "#spoken")
        tops = tab.value(
            "[...document.querySelectorAll('#results section')].map(each => each.getBoundingClientRect().top)"
        )
        assert (tops[0] == tops[1]) == (width == 1280)
        check_layout(tab, width, address)


@in_browser
def test_what_a_model_wrote_is_text(tab: Page) -> None:
    width = 390
    votes = [
        {"answer": HOSTILE, "count": 2, "weight": 2.0},
        {"answer": "x" * 5000, "count": 1, "weight": 1.0},
    ]
    stream = [
        chunk(HOSTILE),
        *(chunk("w" * 10_000) for _ in range(100)),
        chunk(
            finish="stop",
            reasoner={
                "answer": HOSTILE,
                "votes": votes,
                "reason": HOSTILE,
                "ended_by": HOSTILE,
                "notes": [HOSTILE, "y" * 9000],
                "samples": 3,
                "cost": {"tokens": 1},
            },
        ),
        "data: [DONE]\n\n",
    ]
    canned = Canned()
    canned.streams = {"m@vote8": stream}
    with canned.live() as address:
        opened(tab, address, width=width)
        asked(tab)
        assert tab.value("document.title") == "Ask · reasoner"
        assert (
            tab.value("document.querySelectorAll('#results :is(script, img)').length")
            == 0
        )
        shown = "<script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\">[U+001B][31m[U+202E]evil[U+2066][U+0000]"
        assert text(tab, ".headline") == shown
        assert text(tab, ".votes .answer") == shown
        assert text(tab, ".reply pre").startswith(shown + "www")
        assert len(text(tab, "#results")) < 25_000
        assert "more characters, not shown" in text(tab, ".reply .note")
        check_layout(tab, width, address)


@in_browser
@pytest.mark.parametrize(
    ("failure", "stream", "line"),
    [
        (
            JSONResponse(
                {"error": {"message": "the queue is full:\ntry again in 3 s"}}, 429
            ),
            [],
            "the queue is full: try again in 3 s",
        ),
        (
            None,
            [chunk("The "), 'data: {"error": {"message": "the engine died"}}\n\n'],
            "the engine died",
        ),
        (None, [chunk("The ")], "the connection ended before the answer was complete"),
        (
            None,
            [chunk("The "), "data: {nonsense\n\n"],
            "the connection broke before the answer was complete",
        ),
    ],
    ids=["ours", "an error in the stream", "cut off", "not JSON"],
)
def test_a_failure_is_a_line(
    tab: Page, failure: Response | None, stream: list[str], line: str
) -> None:
    canned = Canned()
    canned.failure, canned.streams = failure, {"m@vote8": stream}
    with canned.live() as address:
        opened(tab, address, width=390)
        asked(tab)
        assert text(tab, "#results .error") == line
        assert text(tab, "#spoken") == f"vote8: {line}"
        assert (
            tab.value("document.querySelector('.headline').checkVisibility()") is False
        )
        asked(tab)
        assert len(canned.asked) == 2


@in_browser
def test_it_is_used_with_the_keyboard(tab: Page) -> None:
    canned = Canned()
    canned.streams = {"m@vote8": vote_stream()}
    with canned.live() as address:
        opened(tab, address)
        order = []
        for _ in range(7):
            tab.press("Tab")
            order.append(
                tab.value(
                    "document.activeElement.id || document.activeElement.className"
                )
            )
        assert order == [
            "skip",
            "question",
            "strategy-0",
            "effort-0",
            "kind",
            "compare",
            "submit",
        ]
        tab.value("document.getElementById('question').focus()")
        tab.press("Enter", control=True)
        tab.wait("document.querySelector('.headline')?.textContent === '408'")


KEY = "secret-key-of-the-test"


@in_browser
def test_a_key_stays_in_memory_and_opens_the_tree_of_its_owner(tab: Page) -> None:
    with serving(ScriptedEngine(says("408")), keys={"owner": KEY}) as server:
        opened(tab, server.url)
        assert text(tab, "#problem").startswith("no API key is given")
        tab.value(
            f"const key = document.getElementById('key'); key.value = '{KEY}'; key.dispatchEvent(new Event('change'))"
        )
        tab.wait("document.getElementById('problem').hidden")
        asked(tab)
        assert text(tab, ".headline") == "408"
        stored = tab.value(
            "JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])"
        )
        assert KEY not in stored
        assert all(KEY not in url for url in tab.requested)
        # In this tab, where the test can see it, and not in a new one.
        tab.value(
            "const submit = HTMLFormElement.prototype.submit;"
            "HTMLFormElement.prototype.submit = function () { this.target = '_self'; submit.call(this); }"
        )
        tab.follow("document.querySelector('.tree a').click()")
        assert tab.value("location.pathname").startswith("/v1/reasoner/traces/")
        assert "What is 17 * 24?" in text(tab, "main")
        assert KEY not in tab.value("location.href")


@in_browser
def test_a_question_is_watched_and_answered_and_its_tree_opened(tab: Page) -> None:
    held = asyncio.Event()

    async def pause(request: SampleRequest) -> None:
        if request.index >= 3:
            await held.wait()

    with serving(
        ScriptedEngine(says("408", "408", "409", "408"), pause=pause)
    ) as server:
        opened(tab, server.url)
        assert "votes over 8 samples" in text(tab, ".about")
        tab.value("document.getElementById('ask').requestSubmit()")
        counts = "[...document.querySelectorAll('.votes .count')].map(each => each.textContent).join()"
        tab.wait(f"{counts} === '2 of 3,1 of 3'")
        assert text(tab, ".progress") == "3 samples so far …"
        assert tab.value("document.querySelector('section').ariaBusy") == "true"
        assert tab.value("document.getElementById('stop').checkVisibility()") is True
        server.loop.call_soon_threadsafe(held.set)
        tab.wait("document.querySelector('section').ariaBusy === 'false'")
        assert text(tab, ".headline") == "408"
        assert tab.value(counts) == "6 of 8,2 of 8"
        assert text(tab, ".reply pre") == "The answer is 408"
        assert (
            tab.value("document.querySelector('.thinking').checkVisibility()") is False
        )
        check_layout(tab, 1280, server.url)
        tab.open(tab.value("document.querySelector('.tree a').href"), width=390)
        assert "What is 17 * 24?" in text(tab, "main")
        assert tab.value("document.querySelectorAll('.course').length") == 1
        assert tab.value("document.documentElement.scrollWidth") <= 390


@in_browser
def test_work_that_is_stopped_ends_in_the_engine(tab: Page) -> None:
    aborted = asyncio.Event()

    async def pause(request: SampleRequest) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            aborted.set()
            raise

    with serving(ScriptedEngine(says("7"), pause=pause)) as server:
        opened(tab, server.url)
        tab.value("document.getElementById('ask').requestSubmit()")
        tab.wait("document.querySelector('section')")
        tab.value("document.getElementById('stop').click()")
        tab.wait("document.querySelector('section').ariaBusy === 'false'")
        assert text(tab, "#results .error") == "stopped"
        server.run(aborted.wait())
