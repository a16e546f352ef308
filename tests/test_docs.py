"""The documentation is run: commands on the simulated engine, code blocks in `tests/engine` where they need a model.

A command that needs what is not here has a mark, `<!-- needs a GPU -->`, and is read: its options and its specs.
"""

import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple

import click
import pytest

from reasoner import Budget
from reasoner.answers.kinds import KINDS as KINDS_OF_ANSWER
from reasoner.answers.kinds import AnswerKind
from reasoner.cli import terminal
from reasoner.cli.group import cli
from reasoner.cli.interrupts import code_of
from reasoner.errors import ReasonerError, UnknownName
from reasoner.registry import Kind, build
from tests.cli.command import Run
from tests.cli.conftest import _plain_environment, run

__all__ = ["_plain_environment", "run"]

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("examples/**/*.md"),
        ROOT / "bench/README.md",
    )
)


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text()
    fenced = re.findall(
        rf"^ *```{language}\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL
    )
    return [dedent(block) for block in fenced]


NEEDS = re.compile(r"<!-- needs (.+?) -->")
OURS = ("reasoner", "make", "python", ".venv/bin/python", "pip", "uv", "pytest")
THEIRS = ("curl", "docker", "vllm", "vllm-router", "lm_eval", "inspect")
BLANK = re.compile(r"(?<![\w-])[A-Z][A-Z_]*(?![\w(])|\.\.\.|\$\w")
"""What a reader fills in, such as FILE, ORG/NAME or `...`."""
GROUPS = {"runs"}
ENDLESS = {"serve", "view", "demo"}
"""What runs until it is stopped, or for a minute: tests of their own run them."""


class Written(NamedTuple):
    """A command on a page: its words, what it needs that is not here, and whether it is a part of a sentence."""

    words: tuple[str, ...]
    needs: str
    inline: bool

    @property
    def runs(self) -> bool:
        """Whether it is run, rather than only read."""
        rest = self.words[3 if self.words[1] in GROUPS else 2 :]
        mention = self.inline and (not rest or rest[0].startswith("-"))
        return not (
            self.needs
            or mention
            or self.words[1] in ENDLESS
            or any(map(BLANK.search, self.words))
        )


def written(text: str) -> Iterator[Written]:
    """The commands of a page, from top to bottom.

    A mark holds for its line; alone in a line for what is below it up to an empty line; in the first line for all.
    """
    page = mark = language = ""
    lines = iter(text.replace("\\\n", " ").splitlines())
    for number, line in enumerate(lines):
        # Code in a sentence may go on in the next line.
        while (
            not language
            and line.replace("```", "").count("`") % 2
            and (more := next(lines, ""))
        ):
            line = f"{line} {more.strip()}"  # noqa: PLW2901
        if not language and not line.strip():
            mark = ""
        found = NEEDS.search(line)
        if found and found[0] == line.strip():
            page, mark = (found[1], "") if number == 0 else (page, found[1])
            continue
        if fence := re.match(r" *```(\w*)", line):
            language = "" if language else fence[1] or "text"
            continue
        code = (
            [line.strip()]
            if language in ("bash", "sh", "text") or line.startswith("    ")
            else []
        )
        if language == "console":
            code = [line.strip()[2:]] if line.strip().startswith("$ ") else []
        inline = [] if language else re.findall(r"(?<!`)`([^`]+)`(?!`)", line)
        for each in (*code, *inline):
            command = re.split(
                r" [|&<>](?: |$)", re.sub(r"^(?:[A-Z_]+=\S+ )+", "", each)
            )[0]
            words = command.split()
            if len(words) > 1 and words[0] in (*OURS, *THEIRS):
                split = (
                    shlex.split(command, comments=each in code)
                    if words[0] in OURS
                    else words
                )
                yield Written(
                    tuple(split),
                    page or mark or (found[1] if found else ""),
                    each in inline,
                )


def read(words: Sequence[str]) -> None:
    """Read a command of ours as the command line does: its options, and the specs in it without anything to fill in.

    What an option leaves out is no error: sentences speak of parts of a command.
    """
    if BLANK.search(words[0]):
        return
    context: click.Context = cli.make_context("reasoner", list(words))
    command: click.Command | None = cli
    while isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]
        if not rest:
            return
        try:
            name, command, rest = command.resolve_command(context, rest)
            assert command is not None
            context = command.make_context(name, rest, parent=context)
        except (click.MissingParameter, click.BadOptionUsage):
            return
    for name, given in context.params.items():
        for spec in given if isinstance(given, tuple) else (given,):
            if isinstance(spec, str) and not BLANK.search(spec):
                if kind := KINDS.get(name):
                    build(kind, spec)
                elif name in ("budget", "each"):
                    Budget.parse(spec)
                elif name == "answer":
                    AnswerKind.parse(spec)


KINDS: dict[str, Kind] = {
    "strategy": "strategy",
    "strategies": "strategy",
    "verifier": "verifier",
    "engine": "engine",
    "tasks": "task",
}
EXTRAS = set(
    tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
)
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def fault(command: Written, run: Run) -> str:
    """What is wrong with a command; empty if it runs, or is read where it cannot run here."""
    program, *words = command.words
    if program == "reasoner" and command.runs:
        named = {"--engine", "-e", "--settings"} & set(words)
        engine = [] if named else ["--engine", "simulated"]
        ended = run(
            *words,
            *(engine if words[0] in ("solve", "batch", "eval", "tune") else ()),
        )
        return ended.err if ended.code else ""
    if program == "reasoner":
        try:
            read(words)
        except (click.exceptions.Exit, click.exceptions.NoArgsIsHelpError):
            return ""
        except (click.ClickException, ReasonerError) as error:
            return (
                ""
                if isinstance(error, UnknownName) and "plug-in" in command.needs
                else str(error)
            )
    elif program == "make":
        return "" if words[0] in TARGETS else f"the Makefile has no {words[0]}"
    elif program.endswith("python") and words[0].endswith(".py"):
        return (
            ""
            if BLANK.search(words[0]) or (ROOT / words[0]).exists()
            else f"there is no {words[0]}"
        )
    elif not command.needs and (
        extras := re.search(r"^(?:\.|reasoner-kit)\[([a-z,]+)\]$", words[-1])
    ):
        return (
            ""
            if set(extras[1].split(",")) <= EXTRAS
            else f"the package has no extras {extras[1]}"
        )
    elif program in THEIRS and not (command.needs or command.inline):
        return "it is not ours: say in a mark what it needs"
    return ""


@pytest.mark.process
@pytest.mark.parametrize("page", PAGES)
def test_each_command_of_a_page_runs_or_is_marked(
    page: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, in one folder, as one leaves a trace for the next; on the simulated engine where none is named."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copy(ROOT / "examples/questions.jsonl", tmp_path)
    commands = list(written((ROOT / page).read_text()))
    faults = [
        (" ".join(command.words), wrong)
        for command in commands
        if (wrong := fault(command, run))
    ]
    assert faults == []


@pytest.mark.parametrize("block", range(3))
def test_the_plug_ins_in_contributing_keep_the_laws(block: int) -> None:
    from reasoner import testing
    from reasoner.testing import log_probabilities_are_those_asked_for

    without_logprobs = (log_probabilities_are_those_asked_for,)
    code = blocks("CONTRIBUTING.md", "python")
    names: dict[str, Any] = {"__name__": "contributed"}
    sys.modules["contributed"] = module = type(sys)("contributed")
    module.__dict__.update(names)
    try:
        exec(compile(code[block], "CONTRIBUTING.md", "exec"), module.__dict__)
        if "TwoOfThree" in vars(module):
            testing.check_strategy(module.TwoOfThree())
        elif "Dice" in vars(module):
            testing.check_engine(module.Dice(), leave_out=without_logprobs)
        else:
            testing.check_task(module.Squares())
    finally:
        del sys.modules["contributed"]


ELSEWHERE = {
    ("README.md", 0): "tests/engine/test_examples.py",
    ("docs/servers.md", 0): "tests/engines/test_openai_dialects.py",
    ("docs/serving.md", 0): "tests/serving/test_documentation.py",
    **{("CONTRIBUTING.md", block): "tests/test_docs.py" for block in range(3)},
}
"""The Python blocks that need a model, a server or laws, by page and number, and the tests that run them."""
PYTHON = {
    (page, number): block
    for page in sorted(
        str(path.relative_to(ROOT))
        for name in ("*.md", "docs/**/*.md", "bench/*.md", "examples/**/*.md")
        for path in ROOT.glob(name)
    )
    for number, block in enumerate(blocks(page, "python"))
}
"""All Python blocks of all pages."""


@pytest.mark.parametrize(
    ("page", "number"), [name for name in PYTHON if name not in ELSEWHERE]
)
def test_each_python_block_of_each_page_runs(
    page: str,
    number: int,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    code = PYTHON[page, number]
    if '"runs/first"' in code:
        assert (
            run(
                "eval",
                "arithmetic",
                "--limit",
                "3",
                "-s",
                "single",
                "-e",
                "simulated",
                "--out",
                "runs/first",
            ).code
            == 0
        )
    capsys.readouterr()
    exec(compile(code, page, "exec"), {"__name__": "__main__"})
    assert bool(capsys.readouterr().out) == ("print(" in code)


@pytest.mark.parametrize(("page", "number"), ELSEWHERE)
def test_a_python_block_that_needs_more_is_run_by_the_test_that_is_named(
    page: str, number: int
) -> None:
    assert (page, number) in PYTHON
    assert Path(page).name in (ROOT / ELSEWHERE[page, number]).read_text()


def anchors(page: Path) -> set[str]:
    """The names by which links reach the headings of a page."""
    text = re.sub(
        r"^ *```.*?^ *```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL
    )
    headings = re.findall(
        r"^#+ (.+)", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text), re.MULTILINE
    )
    return {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    }


def leads_somewhere(page: Path, target: str, heading: str) -> bool:
    """Whether a link of a page leads elsewhere, or to a file that exists and has the heading."""
    file = page.parent / target if target else page
    return "://" in target or (
        file.exists() and (not heading or heading in anchors(file))
    )


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", (ROOT / page).read_text())
    assert [link for link in links if not leads_somewhere(ROOT / page, *link)] == []


def exit_codes(text: str) -> list[int]:
    sentence = " ".join(text.split()).partition("Exit codes: ")[2].partition(".")[0]
    return [
        int(code) for code in re.findall(r"\d+(?= )", re.sub(r"\(.*?\)", "", sentence))
    ]


@pytest.mark.parametrize(
    ("command", "page"), [("solve", "docs/command.md"), ("batch", "docs/batch.md")]
)
def test_help_and_page_name_every_exit_code(command: str, page: str, run: Run) -> None:
    codes = [
        terminal.ANSWERED,
        terminal.OTHER,
        terminal.USAGE,
        terminal.EXHAUSTED,
        terminal.ENGINE,
        code_of(KeyboardInterrupt()),
    ]
    assert (
        exit_codes(run(command, "--help").out)
        == exit_codes((ROOT / page).read_text())
        == codes
    )


def test_the_page_of_evaluation_names_all_tasks() -> None:
    from reasoner.registry import entries

    rows = [
        line
        for line in (ROOT / "docs/evaluation.md").read_text().splitlines()
        if line.startswith("| `")
    ]
    named = {
        name
        for row in rows
        for name in re.findall(r"`(\w+)(?::\w+)?`", row.split("|")[1])
    }
    assert named >= set(entries("task"))


def test_the_page_of_strategies_names_them_all() -> None:
    from reasoner.registry import aliases, entries

    rows = [
        line
        for line in (ROOT / "docs/strategies.md").read_text().splitlines()
        if line.startswith("| `")
    ]
    listed = {
        name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert set(entries("strategy")) <= listed <= {*entries("strategy"), *aliases()}


def options_of(command: click.Command, context: click.Context) -> Iterator[str]:
    for each in command.params:
        yield from (*each.opts, *each.secondary_opts)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            if inner := command.get_command(context, name):
                yield from options_of(inner, click.Context(inner, parent=context))


OTHERS = {
    "--disable-retries",
    "--enable-prompt-tokens-details",
    "--gen_kwargs",
    "--health-",
    "--max-samples",
    "--policy",
}
"""Options of other programs that a page names."""
PAST = {"docs/log.md", "bench/README.md", "docs/adr/0018-specs.md"}
"""Pages that name what has left, options of scripts, or a form."""


@pytest.mark.parametrize("page", [page for page in PAGES if page not in PAST])
def test_options_and_specs_in_a_sentence_exist(page: str) -> None:
    """Also in the changelog: what has left is in no page."""
    text = re.sub(
        r"^ *```.*?^ *```",
        "",
        (ROOT / page).read_text(),
        flags=re.DOTALL | re.MULTILINE,
    )
    spans = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)
    options = {span[0] for each in spans if (span := re.match(r"--[a-z][\w-]*", each))}
    assert options <= {*options_of(cli, click.Context(cli)), "--help", *OTHERS}
    for each in spans:
        if spec := re.fullmatch(r"([a-z_]\w*):[a-z_]+=.*", each):
            kinds = [kind for kind in SPECIFIED if spec[1] in names_of(kind)]
            assert kinds or spec[1] in KINDS_OF_ANSWER, each
            # What abstains needs a profile.
            if kinds and not BLANK.search(each) and "abstain" not in each:
                build(kinds[0], each)


SPECIFIED: tuple[Kind, ...] = ("strategy", "verifier", "engine", "task", "rule")


def names_of(kind: Kind) -> set[str]:
    from reasoner.registry import aliases, entries

    return {*entries(kind), *(aliases() if kind == "strategy" else ())}
