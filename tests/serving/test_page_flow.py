"""The page in a real browser, on the real server: ask, watch, answer, open the tree."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from reasoner.engine import SampleRequest
from reasoner.engines.simulated import SimulatedEngine
from reasoner.serving.limits import Key
from tests.browser import CHROMIUM, Page, browser
from tests.helpers import says
from tests.scripted import ScriptedEngine
from tests.serving.running import serving
from tests.serving.test_page import HOSTILE, STICKING_OUT, asked, opened, text

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH: apt-get install chromium"),
]
KEY = "secret-key-of-the-test"


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    with browser() as opened_tab:
        yield opened_tab


def choose(tab: Page, name: str, *, side: int = 0) -> None:
    """Choose a strategy by its alias, or another option of a box."""
    script = f"""
    (() => {{
      const box = document.getElementById('strategy-{side}');
      box.selectedIndex = [...box.options].findIndex(each => each.textContent === {json.dumps(name)});
      box.dispatchEvent(new Event('change'));
      return box.selectedIndex;
    }})()"""
    assert tab.value(script) >= 0


@pytest.mark.parametrize("width", [390, 1280])
def test_a_question_is_asked_watched_and_answered_and_its_tree_opened(tab: Page, width: int) -> None:
    held = asyncio.Event()

    async def pause(request: SampleRequest) -> None:
        if request.index >= 3:
            await held.wait()

    with serving(ScriptedEngine(says("408", "408", "409", "408"), pause=pause)) as server:
        opened(tab, server.url, width=width)
        choose(tab, "vote8")
        assert "votes over 8 samples" in text(tab, ".about")
        tab.value("document.getElementById('ask').requestSubmit()")
        counts = "[...document.querySelectorAll('.votes .count')].map(each => each.textContent).join()"
        tab.wait(f"{counts} === '2 votes,1 vote'")
        assert text(tab, ".progress") == "3 samples so far …"
        assert tab.value("document.querySelector('section').ariaBusy") == "true"
        assert tab.value("document.getElementById('stop').checkVisibility()") is True
        server.loop.call_soon_threadsafe(held.set)
        tab.wait("document.querySelector('section').ariaBusy === 'false'")
        assert text(tab, ".headline") == "408"
        assert tab.value(counts) == "6 votes,2 votes"
        assert text(tab, ".reply pre") == "The answer is 408"
        assert "ended by the strategy" in text(tab, ".facts")
        assert tab.value("document.querySelector('.thinking').checkVisibility()") is False
        assert tab.value("document.documentElement.scrollWidth") <= width
        assert tab.value(STICKING_OUT) == []
        assert tab.logged == []
        tab.open(tab.value("document.querySelector('.tree a').href"), width=width)
        assert "What is 17 * 24?" in text(tab, "main")
        assert tab.value("document.querySelectorAll('.course').length") == 1
        assert tab.value("document.documentElement.scrollWidth") <= width


def test_each_alias_answers_the_first_question(tab: Page) -> None:
    with serving(SimulatedEngine(accuracy=1.0, tokens=10.0)) as server:
        opened(tab, server.url)
        names = tab.value("[...document.getElementById('strategy-0').options].map(each => each.textContent)")
        assert {"the server's default", "vote8", "auto-low", "best8", "universal8", "refine"} <= set(names)
        for name in names:
            choose(tab, name)
            asked(tab)
            assert text(tab, "#results .error") == "", name
            assert "408" in text(tab, "#results"), name
            assert tab.value("document.querySelector('.tree').checkVisibility()") is True, name


def test_two_strategies_are_compared_on_one_question(tab: Page) -> None:
    with serving(SimulatedEngine(accuracy=1.0, tokens=10.0)) as server:
        opened(tab, server.url)
        headlines = "[...document.querySelectorAll('.headline')].map(each => each.textContent)"
        choose(tab, "vote8")
        choose(tab, "the server's default", side=1)
        asked(tab, compare=True)
        assert text(tab, "#verdict").startswith("The same answer: ")
        assert tab.value(headlines) == ["408", "The answer is 408"]
        choose(tab, "vote16", side=1)
        asked(tab)
        assert text(tab, "#verdict").startswith("The same answer: ")
        assert tab.value(headlines) == ["408", "408"]


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


def test_hostile_replies_of_a_model_are_text(tab: Page) -> None:
    with serving(ScriptedEngine(lambda request: HOSTILE + "w" * 1_000_000)) as server:
        opened(tab, server.url, width=390)
        choose(tab, "the server's default")
        asked(tab)
        assert tab.value("document.title") == "Ask · reasoner"
        assert text(tab, ".reply pre").startswith("<script>document.title = 'run'</script><img src=x")
        assert len(text(tab, "#results")) < 25_000
        assert tab.value("document.documentElement.scrollWidth") <= 390
        assert tab.logged == []
        tab.open(tab.value("document.querySelector('.tree a').href"), width=390)
        assert tab.value("document.querySelectorAll('script, img').length") == 0
        assert tab.value("document.documentElement.scrollWidth") <= 390
        assert tab.logged == []


def test_what_the_server_refuses_is_a_line(tab: Page) -> None:
    with serving(SimulatedEngine()) as server:
        opened(tab, server.url)
        choose(tab, "vote8")
        tab.value("document.getElementById('kind').value = 'free'")
        asked(tab)
        assert "cannot serve replies of any form" in text(tab, "#results .error")


def test_with_a_key_all_of_it_works_and_without_nothing(tab: Page) -> None:
    with serving(SimulatedEngine(), keys=[Key.of(KEY, "anna")]) as server:
        opened(tab, server.url)
        assert "no API key is given" in text(tab, "#problem")
        field = "const key = document.getElementById('key');"
        tab.value(f"{field} key.value = '{KEY}'; key.dispatchEvent(new Event('change'))")
        tab.wait("document.getElementById('problem').hidden")
        asked(tab)
        assert text(tab, "#results .error") == ""
        tab.value("const submit = HTMLFormElement.prototype.submit;"
                  "HTMLFormElement.prototype.submit = function () { this.target = '_self'; submit.call(this); }")  # fmt: skip
        tab.follow("document.querySelector('.tree a').click()")
        assert "What is 17 * 24?" in text(tab, "main")
        tab.open(tab.value("location.href"), width=390)
        assert "no API key is given" in text(tab, "body")


def screenshots(folder: Path) -> None:
    """The page before and after a comparison, in both widths, for a person to look at."""
    with browser() as shown, serving(SimulatedEngine(accuracy=0.5)) as server:
        for width, dark in ((390, True), (1280, False)):
            opened(shown, server.url, width=width, dark=dark)
            (folder / f"{width}-empty.png").write_bytes(shown.screenshot())
            choose(shown, "auto-low")
            choose(shown, "vote16", side=1)
            asked(shown, compare=True)
            (folder / f"{width}-compared.png").write_bytes(shown.screenshot(whole=True))
            shown.open(shown.value("document.querySelector('.tree a').href"), width=width, dark=dark)
            (folder / f"{width}-tree.png").write_bytes(shown.screenshot())
