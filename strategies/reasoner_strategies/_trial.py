"""A trial answer: what a chain would answer now, asked by an opened form that the model ends."""

import math
from typing import NamedTuple

from reasoner import Answer, Prompt, Question, SamplingParams
from reasoner.answers.asking import opening_of, read_probe
from reasoner.strategy import Plan, model_info, prefill, sample


class Trial(NamedTuple):
    """An answer, and how sure the model is of it: the geometric mean of its tokens' probabilities, None if unknown."""

    answer: Answer | None
    sure: float | None


def trial_answer(
    question: Question,
    prompt: Prompt,
    params: SamplingParams,
    *,
    logprobs: int | None = None,
) -> Plan[Trial | None]:
    """The answer of a chain that ends here, by some 20 greedy tokens; None where the engine or the question has none.

    The chain stays as it is. Thinking is closed where it is open, and a form such as a box is opened.
    """
    opening = opening_of(question.space)
    if opening is None or not (yield from model_info()).probed:
        return None
    asked = SamplingParams(
        temperature=0.0,
        max_tokens=opening.tokens,
        stop=opening.stop,
        logprobs=logprobs,
        lora=params.lora,
    )
    closed = yield from prefill(prompt, opening.text, thinking="close")
    [reply] = yield from sample(closed, params=asked, answers=False)
    answer = read_probe(question.space, reply.text, opening, cut=reply.truncated)
    known = reply.logprobs.sampled if reply.logprobs else ()
    sure = math.exp(math.fsum(known) / len(known)) if known else None
    return Trial(answer, sure)
