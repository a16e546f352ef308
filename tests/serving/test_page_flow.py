"""The page in a real browser, on the real server: ask, watch, answer, open the tree."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from reasoner.engine import SampleRequest
from tests.browser import CHROMIUM, Page, browser
from tests.helpers import says
from tests.scripted import ScriptedEngine
from tests.serving.running import serving
from tests.serving.test_page import STICKING_OUT, opened, text

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH: apt-get install chromium"),
]


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
