"""A tool `solve` for agents, with the official SDK of the Model Context Protocol: `pip install mcp`.

An agent starts it. ENGINE is a spec such as `openai:base_url=http://127.0.0.1:8000/v1`, a server that runs:

    {"mcpServers": {"reasoner": {"command": "python", "args": ["examples/agent_tool.py", "ENGINE"]}}}
"""

import sys
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from reasoner import build, solve
from reasoner.errors import ReasonerError

server = MCPServer("reasoner")
engine = build("engine", sys.argv[1] if len(sys.argv) > 1 else "simulated")


@server.tool(name="solve")
async def answer(
    question: str, strategy: str = "vote8", budget: str = "tokens=4000"
) -> dict[str, Any]:
    """Answer a whole question with a vote of many samples, or by another strategy, within a budget."""
    try:
        solution = await solve(question, strategy, engine, budget=budget)
    except ReasonerError as error:
        raise ToolError(str(error)) from error
    if solution.error:
        raise ToolError(str(solution.error))
    return {
        "answer": solution.answer.text if solution.answer else None,
        "share": solution.vote_state.share,
        "tokens": solution.cost.tokens,
    }


if __name__ == "__main__":
    server.run()
