"""`reasoner` as a client of `reasoner serve`."""

import pytest

from reasoner import solve_sync
from reasoner.engines.openai import OpenAIEngine
from reasoner.engines.scripted import THINKER, ScriptedEngine
from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import UnknownName
from tests.helpers import says
from tests.serving.running import serving


def test_a_server_with_aliases_serves_one_model() -> None:
    with serving(SimulatedEngine()) as server:
        solution = solve_sync("What is 3 + 4?", "self_consistency:n=8", OpenAIEngine(base_url=server.base_url))
        assert solution.answer
        assert solution.answer.text == "7"
        assert solution.cost.samples == 8
        alias = OpenAIEngine(base_url=server.base_url, model_id="simulated@vote8")
        through = solve_sync("What is 3 + 4?", "single", alias)
        assert through.text
        with pytest.raises(UnknownName, match="did you mean 'simulated@vote8'"):
            solve_sync("What is 3 + 4?", "single", OpenAIEngine(base_url=server.base_url, model_id="simulated@vote9"))


def test_thinking_comes_through() -> None:
    with serving(ScriptedEngine(says("7"), model=THINKER)) as server:
        solution = solve_sync("What is 3 + 4?", "single", OpenAIEngine(base_url=server.base_url))
    [sample] = solution.samples
    assert (sample.completion.thinking.strip(), sample.text) == ("hm, let me think", "The answer is 7")
    assert solution.cost.thinking_tokens > 0
