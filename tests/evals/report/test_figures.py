"""Figures: their scales, their looks, what they leave out, and that the same is drawn the same."""

from xml.etree import ElementTree as ET

from reasoner_evals.report.content import TaskReport
from reasoner_evals.report.drawing import Figure
from reasoner_evals.report.figures import report_figures
from tests.evals.report.conftest import Made
from tests.evals.report.contents import BEST, GREEDY, VOTE, a_curve, a_point, a_task

TASK = a_task(
    [a_point(GREEDY, accuracy=0.45), *a_curve(VOTE), *a_curve(BEST, step=0.08)]
)


def drawn(task: TaskReport) -> dict[str, Figure]:
    """The figures of a task, by the ends of their names."""
    shown = [
        figure for figure in report_figures([task])["t1"] if isinstance(figure, Figure)
    ]
    return {figure.name.removeprefix("t1-"): figure for figure in shown}


def texts(svg: str | bytes) -> list[str]:
    return [
        one.text or "" for one in ET.fromstring(svg).iter() if one.tag.endswith("text")
    ]


def test_everything_that_is_drawn_lies_inside_its_panel(made: Made) -> None:
    for figure in made.figures:
        root = ET.fromstring(figure.inline)
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        uses = [
            one.attrib
            for one in root.iter()
            if one.tag in {"use", "text"} and "x" in one.attrib
        ]
        assert uses
        assert all(
            0 <= float(one["x"]) <= width and 0 <= float(one["y"]) <= height
            for one in uses
        ), figure.name


def test_a_file_is_alone_with_titles_and_legend_that_the_page_writes(
    made: Made,
) -> None:
    for figure in made.figures:
        written, inside = texts(figure.svg), texts(figure.inline)
        for title in filter(None, (figure.x, figure.y)):
            assert title in written, figure.name
            assert title not in inside
        assert {key.text for key in figure.keys} <= set(written)
        assert figure.png.startswith(b"\x89PNG")
        assert b"<script" not in figure.svg


def test_a_text_of_a_run_stays_a_text() -> None:
    hostile = '</text></svg><script>alert("$x^2$")</script> url(#a) \x00\u202e'
    figure = drawn(a_task(a_curve(hostile, strategy=VOTE)))["accuracy-tokens"]
    assert not [
        one for one in ET.fromstring(figure.svg).iter() if one.tag.endswith("script")
    ]
    assert (
        '</text></svg><script>alert("$x^2$")</script> url(#a) [U+0000][U+202E]'
        in texts(figure.svg)
    )
