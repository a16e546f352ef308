"""Code interpreter: the model writes Python, the sandbox runs it, and what it prints answers or goes into the chain."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Final, Literal

from reasoner import Answer, Completion, Prompt, Question, SamplingParams
from reasoner.answers.asking import opening_of, probed, read_probe
from reasoner.answers.code import CodeSpace
from reasoner.answers.programs import OUTPUT, output_block, printed_answer
from reasoner.errors import UsageError
from reasoner.specs import CheckedOptions, Count, OwnerOnly, Range, Seconds
from reasoner.strategy import Execution, Plan, execute, model_info, prefill, sample
from reasoner_strategies._prompts import with_text
from reasoner_strategies._voting.pool import propose_answer

CALLS: Final = 4
PROGRAM: Final = (
    "Write one Python program that computes the answer, as a block of code. It may import the standard library. It "
    "prints the answer, and nothing else, in its last line."
)
BLOCKS: Final = (
    "Reason step by step, and compute with Python: write a block of code that prints what you need. It runs by itself, "
    "with the standard library, and its output follows in a block that begins with ```output."
)


@dataclass(frozen=True, slots=True)
class CodeInterpreter(CheckedOptions):
    """A chain that computes with Python, in the sandbox.

    `mode` "program" draws one program and reads the answer in what it prints, as a whole or in its last line (PAL: Gao
    2022, 2211.10435; PoT: Chen 2022, 2211.12588). A program that fails has no answer; a reply without code answers by
    itself.

    "interleaved" ends a step where the model closes a block of code or begins its output, appends what the code prints
    to the reply, and continues, up to `calls` times (ToRA: Gou 2023, 2309.17452). Each block runs by itself. The answer
    is read after the last step; without one there, it is what the last code printed.

    Programs run for `timeout` seconds of processor time, and twice that in all. `self_consistency:of=code_interpreter`
    votes over programs. `params.max_tokens` limits the whole chain, outputs included.
    """

    listed_under: ClassVar[str] = "One chain"
    uses_verifier: ClassVar[bool] = False
    owners: ClassVar[OwnerOnly] = OwnerOnly("it runs programs on the server")

    mode: Literal["program", "interleaved"] = "program"
    calls: Count = CALLS
    timeout: Annotated[Seconds, Range(above=0, at_most=3600)] = 5.0
    params: SamplingParams = SamplingParams()

    def complete(self) -> None:
        if self.mode == "program" and self.calls != CALLS:
            raise UsageError(
                f"calls={self.calls} has no effect on one program: leave it out, or set mode=interleaved"
            )
        if self.params.json_schema:
            raise UsageError("json_schema contradicts a reply with code: leave it out")

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw code and run it; until there is none, or once."""
        return (
            yield from self._program(question)
            if self.mode == "program"
            else self._interleaved(question)
        )

    def _program(self, question: Question) -> Plan[Answer | None]:
        [reply] = yield from sample(
            with_text(question.prompt, PROGRAM), params=self.params, answers=False
        )
        code = _code(reply)
        if code is None:
            return (
                yield from propose_answer(
                    question, (yield from self._said(question, reply))
                )
            )
        execution = yield from execute(code, seconds=self.timeout, reply=reply)
        return (yield from propose_answer(question, _printed(question, execution)))

    def _said(self, question: Question, reply: Completion) -> Plan[Answer | None]:
        """The answer of a reply without code; the model is asked for it where no form shows it."""
        answer = question.read(reply)
        if answer or not probed(question.space):
            return answer
        return (
            yield from trial_answer(question, reply.prompt.then(reply), self.params)
        )

    def _interleaved(self, question: Question) -> Plan[Answer | None]:
        prompt, answer, left = (
            with_text(question.prompt, BLOCKS),
            None,
            self.params.limit,
        )
        for call in range(self.calls + 1):
            stop = (
                self.params.stop if call == self.calls else (*self.params.stop, OUTPUT)
            )
            params = replace(self.params, stop=stop, max_tokens=left)
            [reply] = yield from sample(prompt, params=params, answers=False)
            calls = call < self.calls and (
                reply.stop == OUTPUT
                or (reply.ended and reply.text.rstrip().endswith("```"))
            )
            code = _code(reply) if calls else None
            if code is None:
                answer = (yield from self._said(question, reply)) or answer
                break
            execution = yield from execute(code, seconds=self.timeout)
            answer = yield from propose_answer(
                question, _printed(question, execution) or answer
            )
            opened = "" if reply.stop == OUTPUT else f"\n{OUTPUT}"
            text = opened + output_block(execution.output, execution.failure)
            after = yield from prefill(prompt.then(reply), text)
            left -= (
                reply.usage.generated_tokens
                + len(after.token_ids)
                - len(prompt.then(reply).token_ids)
            )
            prompt = after
            if left < 1:
                break
        return (yield from propose_answer(question, answer))


def trial_answer(
    question: Question, prompt: Prompt, params: SamplingParams
) -> Plan[Answer | None]:
    """What a chain that ends here would answer, by some 20 greedy tokens; None where the model cannot be asked.

    The chain stays as it is. Thinking is closed where it is open, and a form such as a box is opened.
    """
    opening = opening_of(question.space)
    if opening is None or not (yield from model_info()).probed:
        return None
    asked = SamplingParams(
        temperature=0.0,
        max_tokens=opening.tokens,
        stop=opening.stop,
        lora=params.lora,
    )
    closed = yield from prefill(prompt, opening.text, thinking="close")
    [reply] = yield from sample(closed, params=asked, answers=False)
    return read_probe(question.space, reply.text, opening, cut=reply.truncated)


def _code(reply: Completion) -> str | None:
    """The code in a reply; None without any, or where a limit cut it."""
    code = None if reply.truncated else CodeSpace().read(reply.text)
    return code.text if code else None


def _printed(question: Question, execution: Execution) -> Answer | None:
    """The answer in what a program printed that ended by itself."""
    return (
        None if execution.failure else printed_answer(question.space, execution.output)
    )
