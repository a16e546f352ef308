"""What every engine promises of a short sample: its usage, continuation, length and a cancelled request."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from typing import Any

from reasoner.engine import Engine, SampleRequest
from reasoner.testing.support import QUESTION, turns
from reasoner.types import SamplingParams, Usage

PARAMS = SamplingParams(max_tokens=3, logprobs=2)
EngineLaw = Callable[[Engine], Awaitable[None]]
"""A law of engines that have started: raises an AssertionError where the engine breaks it."""


def check_engine(engine: Engine, *, leave_out: Collection[EngineLaw] = ()) -> None:
    """Start an engine, hold it to all of `ENGINE_LAWS` but those that it does not promise, and close it.

    Raises:
        AssertionError: it breaks a law.
    """

    async def keep() -> None:
        await engine.start()
        try:
            for law in ENGINE_LAWS:
                if law not in leave_out:
                    await law(engine)
        finally:
            await engine.close()

    asyncio.run(keep())


async def _request(engine: Engine, index: int = 0, **changes: Any) -> SampleRequest:
    rendered = await engine.render(QUESTION.prompt)
    return replace(
        SampleRequest("q", QUESTION.prompt, rendered, PARAMS, index, seed=1), **changes
    )


async def usage_is_what_was_computed(engine: Engine) -> None:
    """The rendered prompt, and what was generated within the limit."""
    for index in range(8):
        request = await _request(engine, index)
        completion = await engine.sample(request)
        usage, prompt = completion.usage, request.rendered.tokens
        assert usage.prompt_tokens == prompt, (
            f"the prompt has {prompt} tokens, and the usage is {usage}"
        )
        assert 0 <= usage.cached_tokens < prompt, (
            f"of {prompt} prompt tokens one at least is computed: {usage}"
        )
        assert len(completion.token_ids) == usage.generated_tokens, (
            f"{len(completion.token_ids)} tokens are not those of {usage}"
        )
        assert usage.generated_tokens <= PARAMS.limit, (
            f"the limit is {PARAMS.limit} tokens: {usage}"
        )
        assert (completion.prompt, completion.index) == (QUESTION.prompt, index), (
            "the completion is of another request"
        )
        assert completion.finish_reason in {"stop", "length"}, (
            f"a whole sequence ended by {completion.finish_reason}"
        )


async def log_probabilities_are_those_asked_for(engine: Engine) -> None:
    """One for each token, with as many alternatives as were asked for."""
    completion = await engine.sample(await _request(engine))
    assert completion.logprobs is not None, (
        "log-probabilities were asked for, and there are none"
    )
    lengths = {
        len(completion.logprobs.sampled),
        len(completion.logprobs.top),
        len(completion.token_ids),
    }
    assert len(lengths) == 1, (
        f"each token has a log-probability and its alternatives: the lengths are {lengths}"
    )
    assert {len(top) for top in completion.logprobs.top} <= {2}, (
        "2 alternatives were asked for"
    )


async def a_continuation_is_the_prompt_and_what_was_generated(engine: Engine) -> None:
    """At token level: nothing is tokenised a second time."""
    request = await _request(engine)
    completion = await engine.sample(request)
    head, grown = (
        request.rendered,
        await engine.render(QUESTION.prompt.then(completion)),
    )
    tokens = head.tokens + len(completion.continuation)
    assert grown.tokens == tokens, (
        f"prompt and reply have {tokens} tokens, and rendered together {grown.tokens}"
    )
    if head.token_ids is not None:
        assert grown.token_ids == head.token_ids + completion.continuation, (
            "the reply was tokenised a second time"
        )


async def the_meter_says_what_a_cancelled_request_cost(engine: Engine) -> None:
    """Exactly, so that the runner books it."""
    request = await _request(engine)
    work = asyncio.ensure_future(engine.sample(request))
    await turns(1)
    work.cancel()
    await asyncio.wait([work])
    usage, prompt = request.meter.usage, request.rendered.tokens
    assert usage is not None, "a cancelled request has an unknown cost: write its meter"
    # Nothing was computed where it had not left this process.
    assert usage == Usage() or usage.prompt_tokens == prompt, (
        f"the prompt has {prompt} tokens, and the meter says {usage}"
    )
    assert usage.generated_tokens <= PARAMS.limit, (
        f"the limit is {PARAMS.limit} tokens, and the meter says {usage}"
    )


ENGINE_LAWS: tuple[EngineLaw, ...] = (
    usage_is_what_was_computed,
    log_probabilities_are_those_asked_for,
    a_continuation_is_the_prompt_and_what_was_generated,
    the_meter_says_what_a_cancelled_request_cost,
)
"""The laws of engines."""
