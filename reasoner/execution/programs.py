"""Programs that a model wrote: each is looked up in the history, else run in the sandbox, booked and recorded."""

import asyncio
import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from reasoner.answers.programs import OUTPUT, output_block, printed_answer
from reasoner.budget import NO_COST
from reasoner.errors import UsageError
from reasoner.execution.executor import OperationExecutor
from reasoner.execution.work import Inquiry, Job, perform
from reasoner.sandbox.check import NEEDED, Sandbox
from reasoner.sandbox.layers import SandboxLimits, detect
from reasoner.strategy import NOT_RUN, Execute, Execution
from reasoner.system.foreign import ForeignErrors
from reasoner.trace.events import Executed
from reasoner.types import AnswerSpace, Completion, Extraction


async def execute(
    executor: OperationExecutor, number: int, op: Execute, *, at: int
) -> Execution:
    """What comes of a program. A failure of the sandbox is one of the program.

    Raises:
        BudgetExhausted: the deadline passed.
        NotRecorded: a replay does not have it.
        UsageError: this machine has no sandbox.
    """
    values: dict[str, Any] = {
        "prompt": executor.question.prompt.digest,
        "code": op.code,
        "output": "",
        "failure": "",
    }
    inquiry = Inquiry(
        executor, number, Executed, (op.code,), "verdict", NOT_RUN, values, at
    )

    async def run() -> None:
        values.update(
            (await perform(_ProgramJob(1, executor, at, inquiry, op)))._asdict()
        )

    event = inquiry.recorded(
        "what a program printed: replay with the same strategy and budget"
    )
    if event is None:
        if (await asyncio.to_thread(detect)).missing:
            raise UsageError(f"no program can be run here: {NEEDED}")
        event = await inquiry.outcome(run)
    return Execution(event.output, event.failure or event.error)


@dataclass(slots=True, eq=False)
class _ProgramJob(Job[Execution]):
    """A program in the sandbox. It takes time and no tokens."""

    errors: ClassVar[ForeignErrors | None] = ForeignErrors("the sandbox")

    op: Execute

    async def run(self, _granted: int) -> Execution:
        """What it prints."""
        limits = SandboxLimits(
            seconds=2 * self.op.seconds, cpu_seconds=math.ceil(self.op.seconds)
        )
        return await Sandbox(limits).run(self.op.code)


def with_output(
    reply: Completion, execution: Execution, space: AnswerSpace
) -> Completion:
    """A reply with the output of its program, which gives the answer where the reply itself may say another."""
    text = f"{reply.text.rstrip()}\n\n{OUTPUT}{output_block(execution.output, execution.failure)}"
    return replace(
        reply,
        text=text,
        extraction=Extraction(printed_answer(space, execution.output), NO_COST),
    )
