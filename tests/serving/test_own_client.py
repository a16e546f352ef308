"""`reasoner` as a client of `reasoner serve`."""

import openai
import pytest

from reasoner import solve_sync
from reasoner.engines.openai import OpenAIEngine
from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import UnknownName
from tests.helpers import says
from tests.scripted import THINKER, ScriptedEngine
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


def test_text_that_passes_through_is_streamed_as_it_comes() -> None:
    with serving(ScriptedEngine(says("7"), model=THINKER)) as server:
        client = openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0)
        asked = {
            "model": "scripted thinker",
            "messages": [{"role": "user", "content": "What is 3 + 4?"}],
            "stream": True,
        }
        deltas = [chunk.choices[0].delta for chunk in client.chat.completions.create(**asked, n=2)]
        pieces = [delta.content for delta in deltas if delta.content]
        assert pieces.count(" answer") == 2
        thoughts = [delta.model_extra["reasoning"] for delta in deltas if "reasoning" in (delta.model_extra or {})]
        assert thoughts.count(" think") == 2
        response = client.responses.create(model="scripted thinker", input="What is 3 + 4?", stream=True)
        assert [event.delta for event in response if event.type == "response.output_text.delta"] == [
            "The",
            " answer",
            " is",
            " 7",
        ]
        voted = [
            chunk.choices[0].delta.content
            for chunk in client.chat.completions.create(**{**asked, "model": "scripted thinker@vote8"})
        ]
        assert [piece for piece in voted if piece] == ["The answer is 7"]
