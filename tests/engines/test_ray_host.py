"""What driver and replica say to each other, without Ray: all of a request arrives, in the order in which it was sent."""

import asyncio
import pickle
from dataclasses import fields, replace
from pathlib import Path

import pytest

from reasoner.budget import Cost
from reasoner.engine import ConfidenceFloor, Logprobs, Rendered, SampleRequest
from reasoner.engines.ray.host import EngineHost, Outcome, ToReplica, packed_completion, packed_request
from reasoner.types import Answer, Completion, Extraction, Prompt, SamplingParams, Usage
from tests.engines.ray_parts import Gated
from tests.running import running

PROMPT = Prompt.chat("What is 3 + 4?")
REQUEST = SampleRequest(
    "q", PROMPT, Rendered((1, 2), 2, in_thinking=True), SamplingParams(temperature=0.5, max_tokens=9), 3, 4,
    priority=5, watch=(6, 7), floor=ConfidenceFloor(8, 0.5), interruptible=False,
)  # fmt: skip
COMPLETION = Completion(
    PROMPT, "7", (1, 2), "abort", 2, Usage(1, 1, 2, 1), Logprobs((-0.5,)), 3, 4, "hm", unclosed=True,
    extraction=Extraction(Answer("7", "7"), Cost(1)),
)  # fmt: skip


def test_a_request_and_a_completion_arrive_whole() -> None:
    own = {"question_id", "prompt", "rendered", "params", "index", "seed", "meter", "on_text"}
    plain = SampleRequest("q", PROMPT, REQUEST.rendered, REQUEST.params, 3, 4)
    assert {each.name for each in fields(REQUEST) if getattr(REQUEST, each.name) == getattr(plain, each.name)} == own
    assert SampleRequest(*pickle.loads(pickle.dumps(packed_request(REQUEST)))) == REQUEST
    assert Completion(PROMPT, *pickle.loads(pickle.dumps(packed_completion(COMPLETION)))) == COMPLETION


@pytest.mark.parametrize("order", [(2, 3), (3, 2)])
@running
async def test_a_call_and_its_cancellation_take_effect_in_the_order_of_their_numbers(
    order: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the host sets it
    host = EngineHost(Gated, {"folder": str(tmp_path), "free": 0}, 1)
    await host.exchange(1, [(1, "start", ())])
    request = replace(REQUEST, floor=None, watch=())
    batches: dict[int, list[ToReplica]] = {2: [(2, "sample", (packed_request(request), False))], 3: [2]}
    exchanges = {number: asyncio.ensure_future(host.exchange(number, batches[number])) for number in order}
    assert await exchanges[2] == []
    # It ran once before it was cancelled, so its meter is exact.
    assert await exchanges[3] == [Outcome(2, None, None, Usage(2, 0, 1))]
