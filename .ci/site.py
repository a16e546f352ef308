"""Builds the site of the documentation into `site/`: `make site`. It ends with an error on any warning or dead link.

The pages are those of the repository, at their paths. Added to them are the reference, from help texts and docstrings,
and `llms.txt`.
"""

import importlib
import inspect
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
SITE = ROOT / "site"
ZENSICAL = "zensical==0.0.57"
DOCSTRINGS = ("mkdocstrings-python==2.0.11", "ruff")
"""What shows docstrings, and breaks the lines of signatures."""
MODULES = (
    "reasoner",
    "reasoner.strategy",
    "reasoner.engine",
    "reasoner.verifier",
    "reasoner.voting",
    "reasoner.trace.events",
    "reasoner.testing",
    "reasoner_evals.tasks",
)
TOPICS = {
    "Answer questions": (
        "solve",
        "solve_sync",
        "solve_many",
        "solve_many_sync",
        "solve_each",
        "proposals",
        "build",
    ),
    "Ask": ("Question", "Prompt", "SamplingParams"),
    "Read the result": (
        "Solution",
        "Solutions",
        "Proposal",
        "Answer",
        "Vote",
        "VoteState",
        "Reply",
        "Completion",
        "Rating",
    ),
    "Limit the cost": ("Budget", "Cost", "Prices", "Ledger", "Allocation"),
}
"""The names of `reasoner`, in the order in which a reader needs them."""
STYLE = """
/* A line of an example has up to 100 characters; longer ones break, so that no window cuts them. */
@media screen and (min-width: 76.25em) { .md-grid { max-width: 80rem; } .md-sidebar { width: 10.5rem; } }
.md-typeset pre > code { font-size: .72rem; white-space: pre-wrap; overflow-wrap: anywhere; }
"""
KINDS = ("strategies", "verifiers", "engines", "tasks", "rules", "answers")


def output(*command: str | Path) -> str:
    """What a command printed."""
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


def stage(folder: Path) -> None:
    """The repository's pages and pictures at their paths, and the generated ones under `reference`."""
    listed = output(
        "git",
        "ls-files",
        "-co",
        "--exclude-standard",
        "*.md",
        "docs/*.svg",
        "docs/report/*",
        "examples/*.ipynb",
        "LICENSE",
    ).split()
    for name in listed:
        if not name.startswith(("tests/", ".github/", ".ci/")):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
    (folder / "README.md").rename(folder / "index.md")
    (folder / "site.css").write_text(STYLE, encoding="utf-8")
    decisions = sorted((folder / "docs/adr").glob("*.md"))
    titles = [
        f"- [{path.read_text(encoding='utf-8').partition(chr(10))[0].lstrip('# ')}]({path.name})"
        for path in decisions
    ]
    (folder / "docs/adr/index.md").write_text(
        "\n".join(["# Decisions", "", *titles, ""]), encoding="utf-8"
    )
    reference = folder / "reference"
    reference.mkdir()
    for module in MODULES:
        (reference / f"{module}.md").write_text(
            "\n".join(api(module)), encoding="utf-8"
        )
    (reference / "command.md").write_text("\n".join(helps()), encoding="utf-8")
    for kind in KINDS:
        title = kind.capitalize()
        text = output(BIN / "reasoner", "list", kind)
        (reference / f"{kind}.md").write_text(
            f"# {title}\n\n```text\n{text}```\n", encoding="utf-8"
        )


def api(module: str) -> Iterator[str]:
    """The page of a module's public names, each at its home."""
    yield f"# {module}\n"
    yield f"{inspect.getdoc(importlib.import_module(module))}\n"
    names = importlib.import_module(module).__all__
    topics = TOPICS if module == "reasoner" else {"": names}
    for topic, own in topics.items():
        yield from [f"## {topic}\n"] if topic else []
        yield from (entry(module, name, 3 if topic else 2) for name in own)
    if left_out := set(names).difference(*topics.values()):
        sys.exit(f"no topic has {', '.join(sorted(left_out))}: add it to TOPICS")


def entry(module: str, name: str, level: int) -> str:
    """A public name of a module, described at its home under a heading of this level."""
    public = getattr(importlib.import_module(module), name)
    home = (
        public.__module__
        if inspect.isclass(public) or inspect.isfunction(public)
        else module
    )
    return f"::: {home}.{name}\n    options:\n      heading_level: {level}\n"


def helps() -> Iterator[str]:
    """The page of all help texts."""
    yield "# The command\n"
    help_text = output(BIN / "reasoner", "--help")
    yield f"```text\n{help_text}```\n"
    for name in re.findall(r"^  ([a-z]+)  ", help_text, re.MULTILINE):
        yield f"## reasoner {name}\n"
        yield f"```text\n{output(BIN / 'reasoner', name, '--help')}```\n"


def source_link() -> str:
    """The setting by which each page links to the repository; empty where its origin is no web address."""
    origin = output("git", "ls-remote", "--get-url", "origin").strip()
    # The address may hold a user's name and token.
    address = r"(?:https://(?:[^/@]*@)?|git@)([^/:@]+)[/:](.+?)(?:\.git)?"
    there = re.fullmatch(address, origin)
    return f'repo_url = "https://{there[1]}/{there[2]}"\n' if there else ""


def pages(navigation: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Titles and paths of the pages in the navigation, in its order."""
    for entry in navigation:
        for title, value in entry.items():
            if isinstance(value, str):
                yield title, value
            else:
                yield from pages(value)


def write_llms(folder: Path, config: dict[str, Any]) -> None:
    """`llms.txt`: what a language model should read, by llmstxt.org; the pages themselves lie beside it as Markdown."""
    lines = [
        f"# {config['site_name']}",
        "",
        f"> {config['site_description']}",
        "",
        "## Pages",
        "",
    ]
    for title, path in pages(config["nav"]):
        lines.append(f"- [{title}]({path})")
        target = SITE / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / path, target)
    (SITE / "llms.txt").write_text("\n".join([*lines, ""]), encoding="utf-8")


@cache
def anchors(page: Path) -> set[str]:
    """What a link may name after `#` on a built page."""
    return set(re.findall(r'\bid="?([^"\s>]+)', page.read_text(encoding="utf-8")))


def dead_links() -> Iterator[str]:
    """Links of the built pages that lead nowhere, or to a heading that is not there."""
    for page in SITE.rglob("*.html"):
        for link in re.findall(
            r'(?:href|src)="?([^"\s>]+)', page.read_text(encoding="utf-8")
        ):
            if page.name == "404.html" or re.match(r"[a-z]+:|//", link):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path.partition("?")[0]).resolve() if path else page
            target = target / "index.html" if target.is_dir() else target
            if not target.exists() or (
                anchor and target.suffix == ".html" and anchor not in anchors(target)
            ):
                yield f"{page.relative_to(SITE)}: {link}"


def main() -> None:
    """Stages, builds and checks."""
    text = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    config = tomllib.loads(text)["project"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stage(folder / "pages")
        (folder / "zensical.toml").write_text(
            text.replace("ROOT", str(ROOT)).replace(
                "[project]\n", f"[project]\n{source_link()}", 1
            ),
            encoding="utf-8",
        )
        tool: tuple[str | Path, ...] = (
            BIN / "uv",
            "tool",
            "run",
            *(part for name in DOCSTRINGS for part in ("--with", name)),
            ZENSICAL,
            "build",
            "--strict",
        )
        done = subprocess.run(
            tool, cwd=folder, env=None, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"{done.stdout}{done.stderr}")
        shutil.rmtree(SITE, ignore_errors=True)
        shutil.copytree(folder / "site", SITE)
        write_llms(folder / "pages", config)
    dead = sorted(set(dead_links()))
    orphans = sorted(
        str(path) for _, path in pages(config["nav"]) if not (SITE / path).exists()
    )
    if dead or orphans:
        sys.exit("\n".join(["links that lead nowhere:", *dead, *orphans]))
    print(f"{SITE}/index.html")


if __name__ == "__main__":
    main()
