"""Streams of a model that thinks through vLLM's real front-end: where they end, and what is counted. No engine runs."""

from typing import Any, Final

import numpy as np
import pytest

from reasoner import Prompt, SamplingParams
from reasoner.engine import RenderedPrompt, SampleRequest
from reasoner.engines.vllm.engine import _completion, _in_parts, _vllm_params
from reasoner.engines.vllm.parts import SequencePrefix, ThinkingMarks
from reasoner.engines.vllm.rendering import TextEncoder
from reasoner.engines.vllm.stream import SequenceStream, prepare
from reasoner.models.thinking import ThinkingProfile
from reasoner.types import Completion, Usage
from tests.engine.test_families import THINK

PROMPT: Final = Prompt.chat("?")
HEAD: Final = "<think>\n"


def streamed(
    tokenizer: Any,
    reply: str,
    params: SamplingParams,
    *,
    width: int = 1,
    ends: bool = True,
) -> Completion:
    """A reply as the engine reads it where the core sends `width` tokens at a step; with `ends`, then a closing one."""
    from vllm.v1.engine import EngineCoreOutput, EngineCoreRequest, FinishReason
    from vllm.v1.engine.output_processor import OutputProcessor
    from vllm.v1.outputs import LogprobsLists

    encoder = TextEncoder(tokenizer)
    start, end = encoder.encode("<think>"), encoder.encode("</think>")
    profile = ThinkingProfile("always", start, end, *THINK, closing="</think>")
    head, ids = encoder.encode(HEAD), list(encoder.encode(reply + "<eos>" * ends))
    request = SampleRequest("q", PROMPT, RenderedPrompt(head, len(head)), params, 0, 0)
    before, marks = (
        SequencePrefix(head, 0, opened=True),
        ThinkingMarks.of(profile, tokenizer),
    )
    stream = SequenceStream(request, before, marks, tokenizer, None)
    processor = OutputProcessor(tokenizer, log_stats=False, stream_interval=1)
    prepare(processor, {})
    added = EngineCoreRequest(
        request_id="0",
        external_req_id="0",
        prompt_token_ids=list(head),
        mm_features=None,
        sampling_params=_vllm_params(request, streams=True, thinks=True),
        pooling_params=None,
        arrival_time=0.0,
        lora_request=None,
        cache_salt=None,
        data_parallel_rank=None,
    )
    processor.add_request(added, None)
    for at in range(0, len(ids), width):
        sent = ids[at : at + width]
        over = at + width >= len(ids)
        output = EngineCoreOutput(
            request_id="0",
            new_token_ids=sent,
            finish_reason=(FinishReason.STOP if ends else FinishReason.LENGTH)
            if over
            else None,
            new_logprobs=LogprobsLists(
                np.array([[token] for token in sent]),
                -np.array([[float(token)] for token in sent]),
                np.ones(len(sent), np.int32),
            ),
        )
        [received] = processor.process_outputs([output]).request_outputs
        if stream(received):
            break
    drawn = stream.drawn
    whole = _completion(request, drawn, Usage(len(head), 0, drawn.computed))
    return _in_parts(whole, before, marks, tokenizer)


LOGPROBS: Final = SamplingParams(max_tokens=64, logprobs=0)


@pytest.mark.parametrize("width", [1, 2, 3, 7])
def test_a_stop_string_ends_the_final_part_at_its_last_token(
    tokenizer: Any, width: int
) -> None:
    params = SamplingParams(max_tokens=64, logprobs=0, stop=("\n\n",))
    one = streamed(tokenizer, "a\n\nb</think>7\n\n8\n\n9", params, width=width)
    encoder = TextEncoder(tokenizer)
    assert (one.thinking, one.text, one.finish_reason, one.stop) == (
        "a\n\nb",
        "7",
        "stop",
        "\n\n",
    )
    assert one.token_ids == encoder.encode("a\n\nb</think>7\n\n")
    assert one.usage.thinking_tokens == 5
    # What the engine computed beyond the end is counted: up to the end of the step.
    assert one.usage.generated_tokens == min(
        -(-len(one.token_ids) // width) * width, 13
    )
    assert one.logprobs is not None
    assert one.logprobs.sampled == tuple(-float(token) for token in one.token_ids)
    assert one.prompt.then(one).text == "7\n\n"


def test_a_stop_string_ends_thinking_where_that_is_asked_for(tokenizer: Any) -> None:
    params = SamplingParams(
        max_tokens=64, logprobs=0, stop=("\n\n",), stop_in_thinking=True
    )
    one = streamed(tokenizer, "a\n\nb</think>7\n\n8", params)
    assert (one.thinking, one.text, one.unclosed, one.stop) == ("a", "", True, "\n\n")
    assert one.usage.thinking_tokens == len(one.token_ids) == 3


def test_a_stop_string_may_not_reach_over_the_end_of_thinking(tokenizer: Any) -> None:
    one = streamed(
        tokenizer,
        "a\n</think>\n7\n\n",
        SamplingParams(max_tokens=64, logprobs=0, stop=("\n\n",)),
    )
    assert (one.thinking, one.text, one.stop) == ("a\n", "\n7", "\n\n")


def test_a_sequence_that_ends_in_thinking_is_unclosed_and_all_thinking(
    tokenizer: Any,
) -> None:
    for reply in ("", "hm"):
        ended = streamed(tokenizer, reply, LOGPROBS)
        assert (ended.thinking, ended.text, ended.unclosed, ended.truncated) == (
            reply,
            "",
            True,
            True,
        )
        assert (
            ended.usage.thinking_tokens
            == ended.usage.generated_tokens
            == len(reply) + 1
        )
    cut = streamed(tokenizer, "hm", LOGPROBS, ends=False)
    assert (cut.thinking, cut.unclosed, cut.finish_reason) == ("hm", True, "length")
