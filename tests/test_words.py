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
