"""docs/serving.md and the example: what is written there runs, and names what there is."""

import asyncio
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from reasoner.engines.simulated import SimulatedEngine
from reasoner.serving.choose import default_aliases
from reasoner.serving.config import read_settings
from reasoner.serving.requests import VendorOptions
from tests.serving.running import serving
from tests.test_docs import blocks

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/serving.md"
WRITTEN = "http://127.0.0.1:8000"


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table after a heading, without its own head."""
    after = PAGE.read_text().split(f"{heading}\n", 1)[1]
    table = re.search(r"(?:^\|.*\n)+", after, re.MULTILINE)
    assert table
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in table.group().splitlines()[2:]
    ]


def names(cell: str) -> set[str]:
    return set(re.findall(r"`([\w-]+)`", cell))


def first_column(heading: str) -> set[str]:
    return {name for row in rows(heading) for name in names(row[0])}


def test_the_python_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    [code] = blocks("docs/serving.md", "python")
    with serving(SimulatedEngine(accuracy=1.0, tokens=10.0)) as server:
        exec(
            compile(code.replace(WRITTEN, server.url), str(PAGE), "exec"),
            {"__name__": "__main__"},
        )
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "The answer is 7",
        "[{'answer': '7', 'count': 8, 'weight': 8.0}]",
    ]
    assert lines[2].startswith("7 ")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_example_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(SimulatedEngine(accuracy=1.0, tokens=10.0)) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        runpy.run_path(str(ROOT / "examples/serving.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["The answer is 7", "7 has 8 votes"]


@pytest.mark.process
def test_an_agent_calls_the_tool_of_the_example() -> None:
    tool = str(ROOT / "examples/agent_tool.py")
    asked = StdioServerParameters(
        command=sys.executable, args=[tool, "simulated:accuracy=1,tokens=10"]
    )

    async def called(**arguments: str) -> Any:
        async with (
            stdio_client(asked) as (incoming, outgoing),
            ClientSession(incoming, outgoing) as session,
        ):
            await session.initialize()
            return await session.call_tool(
                "solve", {"question": "What is 3 + 4?", **arguments}
            )

    solved = asyncio.run(called())
    assert solved.structured_content["answer"] == "7"
    refused = asyncio.run(called(strategy="vote9"))
    assert refused.is_error
    assert "no strategy named 'vote9'" in refused.content[0].text


def test_the_settings_and_the_tables_of_the_page_name_what_there_is(
    tmp_path: Path,
) -> None:
    [toml] = blocks("docs/serving.md", "toml")
    file = tmp_path / "serve.toml"
    file.write_text(toml)
    file.chmod(0o600)
    settings = read_settings(file)
    assert "careful" in settings.aliases
    assert len(settings.keys) == 2
    assert first_column("### Aliases") == set(default_aliases())
    assert first_column("### The object `reasoner`") == set(VendorOptions.model_fields)


def test_the_fields_of_a_reply_and_the_routes_are_those_of_the_page() -> None:
    body = {
        "model": "simulated@vote8",
        "messages": [{"role": "user", "content": "What is 3 + 4?"}],
    }
    routes = re.findall(
        r"`(GET|POST) (/[\w/]*)", " ".join(row[0] for row in rows("### Routes"))
    )
    assert len(routes) >= 6
    with serving(SimulatedEngine()) as server:
        reply = httpx.post(f"{server.base_url}/chat/completions", json=body).json()
        for method, path in routes:
            response = httpx.request(method, f"{server.url}{path}")
            assert response.status_code != 405
            assert '"not_found"' not in response.text
    assert first_column("### The object `reasoner` in a reply") == set(
        reply["reasoner"]
    )
