"""The page in a real browser: nothing overflows, everything is drawn, nothing is logged, nothing is fetched."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reasoner_evals.report.figures import report_figures
from reasoner_evals.report.page import page
from tests.browser import CHROMIUM, Page, browser
from tests.evals.report.conftest import Made
from tests.evals.report.contents import a_failure

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on the PATH: apt-get install chromium"
)

WIDTHS = (390, 1280)

VISIBLE_FIGURES = """
[...document.querySelectorAll('figure svg')].filter(one => one.checkVisibility())
  .map(one => ({width: one.getBoundingClientRect().width, height: one.getBoundingClientRect().height}))
"""
SMALLEST_TEXT = """
Math.min(...[...document.querySelectorAll('main *')].filter(one => one.checkVisibility()
  && !one.closest('.only-read') && [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim()))
  .map(one => {
    const svg = one.closest('svg');
    const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
    return scale * parseFloat(getComputedStyle(one).fontSize);
  }))
"""
PAPER_AND_INK = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
STICKING_OUT = """
[...document.querySelectorAll('main *')].filter(one => one.checkVisibility() && !one.closest('.scroll, pre, .only-read')
  && one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 200))
"""


@pytest.fixture(scope="module")
def file(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    long = a_failure(
        text="word " * 300 + "x" * 900, gold="y" * 300, question_id="z" * 300
    )
    long = long._replace(key=made.task.failures[0].key)
    task = replace(made.task, failures=(made.task.failures[0], long))
    report = replace(
        made.report,
        title="arithmetic: accuracy against compute " + "w" * 80,
        tasks=(task,),
    )
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page(report, report_figures(report.tasks)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    with browser() as opened:
        yield opened


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_shows_well_and_asks_for_nothing(
    tab: Page, file: Path, width: int, dark: bool
) -> None:
    tab.open(file, width=width, dark=dark)
    tab.value(
        "document.querySelectorAll('details').forEach(one => { one.open = true })"
    )
    assert tab.value("innerWidth") == width
    assert tab.value("document.documentElement.scrollWidth") <= width
    assert tab.value(STICKING_OUT) == []
    figures = tab.value(VISIBLE_FIGURES)
    assert len(figures) == 1  # of the six axes one is chosen
    chart = "document.querySelector('#t1-accuracy-tokens-figure svg')"
    if width == 1280:
        tab.value("scrollTo(0, 0)")
        assert tab.value(f"{chart}.getBoundingClientRect().bottom") <= 800
    assert all(one["width"] > 160 and one["height"] > 60 for one in figures)
    assert tab.value(SMALLEST_TEXT) >= 12
    paper, ink = (
        sum(map(int, colour[4:-1].split(","))) for colour in tab.value(PAPER_AND_INK)
    )
    assert (paper < ink) == dark
    assert tab.logged == []
    assert tab.requested == [file.as_uri()]


@pytest.mark.parametrize("width", WIDTHS)
def test_each_axis_is_a_click_away(tab: Page, file: Path, width: int) -> None:
    tab.open(file, width=width)
    shown = "[...document.querySelectorAll('.tabs figure')].filter(one => one.checkVisibility()).map(one => one.id)"
    for row, axis in enumerate(
        ("tokens", "sequential", "samples", "flops", "seconds", "usd")
    ):
        tab.value(f"document.querySelectorAll('.tabs label')[{row}].click()")
        assert tab.value(shown) == [f"t1-accuracy-{axis}-figure"]


def test_what_the_policy_does_not_allow_is_not_done_even_if_it_is_in_the_page(
    tab: Page, file: Path
) -> None:
    bad = file.with_name("injected.html")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        host = f"http://127.0.0.1:{server.getsockname()[1]}"
        injected = f"""<script>document.title = 'run'</script><img src="{host}/x"><base href="{host}/">
            <link rel="stylesheet" href="{host}/y.css"></main>"""
        bad.write_text(
            file.read_text(encoding="utf-8").replace("</main>", injected),
            encoding="utf-8",
        )
        tab.open(bad, width=390)
        assert tab.value("document.title") != "run"
        assert tab.value("document.baseURI") == bad.as_uri()
        assert len([one for one in tab.logged if "Content Security Policy" in one]) >= 4
        with pytest.raises(BlockingIOError):
            server.accept()
