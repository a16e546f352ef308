"""The project's words: terms that the glossary replaced, and phrases that readers do not understand, do not come back."""

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("reasoner", "strategies", "verifiers", "evals", "examples", "bench")
PAGES = (
    "*.md",
    "docs/*.md",
    "docs/adr/*.md",
    "docs/tutorials/*.md",
    "docs/report/README.md",
    "bench/README.md",
    "examples/README.md",
)
PHRASES = re.compile(
    r"\b(?:anew|in vain|goes on|go on from|comes to|came to|what stands|was told|is told|told apart|told beside"
    r"|where nothing else is said|where not said otherwise|is worth its|all else|nobody says|way out|by lot"
    r"|comes along|draws nothing|may be had|can be had|a tab|weighed|no (?:folder|operation) here"
    r"|so many|of which|that of)\b",
    re.IGNORECASE,
)
PLAIN = (
    "README.md",
    "docs/answers.md",
    "docs/batch.md",
    "docs/budgets.md",
    "docs/command.md",
    "docs/controller.md",
    "docs/evaluation.md",
    "docs/field.md",
    "docs/install.md",
    "docs/log.md",
    "docs/python.md",
    "docs/scale.md",
    "docs/servers.md",
    "docs/serving.md",
    "docs/strategies.md",
    "docs/glossary.md",
    "docs/thinking.md",
    "docs/tutorials/data.md",
    "docs/tutorials/gpu.md",
    "docs/tutorials/laptop.md",
    "docs/tutorials/serve.md",
    "docs/tutorials/study.md",
    "docs/vllm.md",
    "examples/README.md",
)
"""The pages that were rewritten for newcomers; a page that joins them keeps the limits below."""
MOST_WORDS = 27_000
"""The most words of all pages in `docs`, without decisions and what a report wrote."""
LONGEST = 25
"""The most words of a sentence on these pages; code counts as one word."""
MINUTE = 240
"""The words that are read in a minute."""
HABITS = re.compile(r"\b(?:so many|of which|that of)\b", re.IGNORECASE)
IDENTIFIERS = re.compile(r"^(?:one|ones|found|place|places|told|whose|lent|said|anew)$")


def prose(path: Path) -> list[tuple[int, str]]:
    """The comments and strings of a Python file, or the lines of a page."""
    if path.suffix != ".py":
        return list(enumerate(path.read_text().splitlines(), 1))
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    wanted = {
        tokenize.COMMENT,
        tokenize.STRING,
        getattr(tokenize, "FSTRING_MIDDLE", -1),
    }
    return [(token.start[0], token.string) for token in tokens if token.type in wanted]


def product_files() -> list[Path]:
    return sorted(path for source in SOURCES for path in (ROOT / source).rglob("*.py"))


@pytest.mark.parametrize("source", [*SOURCES, "pages"])
def test_prose_has_no_phrase_that_was_replaced(source: str) -> None:
    if source == "pages":
        paths = sorted(path for pattern in PAGES for path in ROOT.glob(pattern))
    else:
        paths = sorted((ROOT / source).rglob("*.py"))
    assert paths
    found = [
        f"{path.relative_to(ROOT)}:{line}: {match.group()}"
        for path in paths
        for line, text in prose(path)
        for match in PHRASES.finditer(" ".join(text.split()))
    ]
    assert found == []


def test_names_say_what_the_thing_is() -> None:
    vague = [
        f"{path.relative_to(ROOT)}:{token.start[0]}: {token.string}"
        for path in product_files()
        for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
        if token.type == tokenize.NAME and IDENTIFIERS.match(token.string)
    ]
    assert vague == []


def paragraphs(page: str) -> list[str]:
    """The text of a page without its code, tables, headings, tags and marks; each item of a list is a paragraph."""
    text = re.sub(r"^ *```.*?^ *```", "", page, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"<[^>]*>", "", re.sub(r"`[^`]+`", "code", text))
    text = re.sub(r"^(?:\||#).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)
    return [
        " ".join(each.split())
        for each in re.split(r"\n\s*\n|^ *(?:-|\d+\.) ", text, flags=re.MULTILINE)
    ]


def heavy(page: str) -> list[str]:
    """The sentences that are too long, the phrases without an actor, and the cells of tables with three numbers."""
    sentences = [
        each
        for text in paragraphs(page)
        for each in re.split(r"(?<=[.!?])[*)\"]*\s+", text)
    ]
    cells = [
        cell
        for line in page.splitlines()
        if line.startswith("|")
        for cell in re.split(r"(?<!\\)\|", line)
    ]
    return [
        *(each for each in sentences if len(each.split()) > LONGEST),
        *(match.group() for match in HABITS.finditer(" ".join(page.split()))),
        *(
            cell.strip()
            for cell in cells
            if len(re.findall(r"(?<![\w.,])\d", re.sub(r"`[^`]+`", "", cell))) > 2
        ),
    ]


@pytest.mark.parametrize("page", PLAIN)
def test_a_page_for_newcomers_is_read_once(page: str) -> None:
    assert heavy((ROOT / page).read_text()) == []


def test_the_pages_together_are_short() -> None:
    pages = [*ROOT.glob("docs/*.md"), *ROOT.glob("docs/tutorials/*.md")]
    pages.append(ROOT / "docs/report/README.md")
    assert sum(len(page.read_text().split()) for page in pages) <= MOST_WORDS


def test_the_first_page_is_read_in_a_minute() -> None:
    first, _, _ = (ROOT / "README.md").read_text().partition("## Where to go")
    without_code = re.sub(
        r"```.*?```|^    .*?$", "", first, flags=re.DOTALL | re.MULTILINE
    )
    shown = re.sub(r"!\[[^]]*\]\([^)]*\)", "", without_code)
    assert len(shown.split()) <= MINUTE


def test_long_sentences_and_full_cells_are_seen() -> None:
    long = " ".join(["word"] * (LONGEST + 1))
    short = (
        "A sentence with `code of many words` and a [link](to/a/page.md). Another one."
    )
    table = "| head | `1, 2, 3` of 4 |\n|---|---|\n| 1, 2 and 3 | [4](5.md) |"
    code = f"```text\n{long}\n```"
    assert heavy(f"# {long}\n\n{short}\n- {short}\n\n{code}") == []
    assert heavy(f"{short}\n- {long}\n\nas so many\nof which {short}\n\n{table}") == [
        long,
        "so many",
        "of which",
        "1, 2 and 3",
    ]
