"""A model provider of inspect_ai: each of its generations is answered by a strategy within a budget.

    inspect eval task.py --model reasoner/MODEL -M strategy=vote8 -M budget=tokens=4000

The model arguments are `strategy`, `answer` (a kind of answer), `verifier`, `budget`, `base_url` of a server instead of
vLLM in this process, or any `engine` as a spec. A generation without a strategy is one plain completion. The usage in
its logs is the ledger's, samples that were not chosen included; the metadata of an output has votes and cost.
`StopEpochs` ends the epochs of a sample by a stop rule.
"""

import asyncio
import json
from typing import Any

from inspect_ai.dataset import Sample
from inspect_ai.log import EvalSpec
from inspect_ai.model import (
    ChatMessage,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    messages_to_openai,
    model_output_from_openai,
    modelapi,
)
from inspect_ai.scorer import SampleScore
from inspect_ai.tool import ToolChoice, ToolInfo
from inspect_ai.util import EarlyStop

from reasoner import Cost
from reasoner.answers.kinds import AnswerKind
from reasoner.registry import build
from reasoner.serving.chat import ChatReply
from reasoner.serving.choose import choose
from reasoner.serving.config import ServerLimits, Settings, make_offer
from reasoner.serving.requests import read
from reasoner.serving.service import ANYONE, Service
from reasoner.voting import Tally

PASSED = (
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "reasoning_effort",
)
"""Settings of inspect that a chat request has under the same name."""
CHOICES = {"auto": "auto", "any": "required", "none": "none"}
DEFAULTS = GenerateConfig()


@modelapi(name="reasoner")
class ReasonerModel(ModelAPI):  # type: ignore[misc] # its types are not looked at
    """One engine, started by the first generation, and its strategy."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = DEFAULTS,
        *,
        engine: str = "",
        **chosen: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        spec = engine or (f"openai:base_url={base_url}" if base_url else "vllm")
        options = (
            {}
            if spec.partition(":")[0] in {"simulated", "pool"}
            else {"model": model_name}
        )
        self._service = Service(
            build("engine", spec, **options),
            make_offer(Settings()),
            ServerLimits(),
            report=lambda *_: None,
        )
        self._chosen = chosen
        self._starting = asyncio.Lock()
        self._started = False

    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        """The reply that the strategy chooses.

        Raises:
            ApiError: the arguments or settings are refused, or the question failed before there was any text.
        """
        async with self._starting:
            if not self._started:
                await self._service.__aenter__()
                self._started = True
        offer = self._service.offer
        body: dict[str, Any] = {
            "model": offer.model.name,
            "messages": await messages_to_openai(input),
            "reasoner": self._chosen,
            **{name: getattr(config, name) for name in PASSED},
            "n": config.num_choices,
            "stop": config.stop_seqs,
        }
        if tools:
            body["tools"] = [
                {
                    "type": "function",
                    "function": tool.model_dump(
                        include={"name", "description", "parameters"}, exclude_none=True
                    ),
                }
                for tool in tools
            ]
            body["tool_choice"] = (
                CHOICES[tool_choice]
                if isinstance(tool_choice, str)
                else {"type": "function", "function": {"name": tool_choice.name}}
            )
        made = ChatReply(read(json.dumps(body).encode(), ChatReply.reads), offer.prices)
        whole = made.whole(
            await self._service.answer(choose(made.asked, offer), ANYONE)
        )
        output = await model_output_from_openai(whole)
        output.metadata = {"reasoner": whole["reasoner"]}
        return output

    async def aclose(self) -> None:
        """Cut off what is in flight, and close the engine."""
        if self._started:
            await self._service.__aexit__()

    def max_connections(self) -> int:
        """As many at once as the server side answers: the engine batches them."""
        return self._service.limits.max_concurrent

    def connection_key(self) -> str:
        """One engine has one limit."""
        return str(self.model_name)


class StopEpochs:
    """Ends the epochs of each sample by a stop rule, as the `early_stopping` of a task.

        Task(..., epochs=Epochs(16, "mode"), early_stopping=StopEpochs("beta"))

    The votes are the answers of the first scorer, read as the kind `answer` reads a reply; one that cannot be read is
    no vote. Answers that only a worker can compare count as different. The epochs of a sample that already run when the
    rule stops it end as usual, so keep `max_samples` at or below the number of samples.

    Raises:
        UsageError: there is no such rule or kind of answer.
    """

    def __init__(self, rule: str, answer: str = "auto") -> None:
        self._spec, self._rule, self._kind = (
            rule,
            build("rule", rule),
            AnswerKind.parse(answer),
        )
        self._tallies: dict[str | int | None, Tally] = {}

    async def start_task(
        self, task: EvalSpec, samples: list[Sample], epochs: int
    ) -> str:
        """Open a vote of this many epochs for each sample; the name of this manager."""
        for sample in samples:
            text = (
                sample.input if isinstance(sample.input, str) else sample.input[-1].text
            )
            self._tallies[sample.id] = Tally(self._kind.space(text), max_samples=epochs)
        return f"reasoner {self._spec}"

    async def schedule_sample(self, id: str | int, epoch: int) -> EarlyStop | None:
        """The stop of this epoch, with the rule's reason, or None to run it."""
        reason = self._rule.stop(self._tallies[id].vote_state(), Cost())
        return EarlyStop(id=id, epoch=epoch, reason=reason) if reason else None

    async def complete_sample(
        self, id: str | int, epoch: int, scores: dict[str, SampleScore]
    ) -> None:
        """Count the answer of an epoch."""
        tally = self._tallies[id]
        text = next((score.score.answer for score in scores.values()), None)
        tally.add(tally.space.read(text) if text else None, index=epoch)

    async def complete_task(self) -> dict[str, Any]:
        """The votes of each sample, the leader first."""
        return {
            str(sample): [
                [vote.answer.text, vote.count] for vote in tally.vote_state().votes
            ]
            for sample, tally in self._tallies.items()
        }
