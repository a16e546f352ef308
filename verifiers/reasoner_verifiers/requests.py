"""A request of a verifier to a model, booked in the meter of its rating."""

from reasoner import Completion, Cost, Prompt, SamplingParams
from reasoner.engine import Engine, SampleRequest, TokenIds, Usage, UsageMeter
from reasoner.errors import VerifierError
from reasoner.verifier import CostMeter, verifier_cost


async def ask(
    engine: Engine,
    question_id: str,
    prompt: Prompt,
    params: SamplingParams,
    cost_meter: CostMeter,
    *,
    index: int,
    seed: int,
    watch: TokenIds = (),
    reserve: int = 0,
) -> Completion:
    """One sequence, added to the meter; `reserve` tokens are left free after it.

    Raises:
        VerifierError: it does not fit the context window.
    """
    model = engine.model
    rendered, spent = await engine.render(prompt), cost_meter.cost or Cost()
    if model.context and rendered.tokens + params.limit + reserve > model.context:
        raise VerifierError(
            f"the verifier's prompt is {rendered.tokens:,} tokens, its reply up to {params.limit + reserve:,}, and the "
            f"context window {model.context:,}"
        )
    meter = UsageMeter(Usage())
    request = SampleRequest(
        question_id, prompt, rendered, params, index, seed, watch=watch, meter=meter
    )
    try:
        completion = await engine.sample(request)
    except BaseException:
        cost_meter.cost = (
            None if meter.usage is None else spent + verifier_cost(model, meter.usage)
        )
        raise
    cost_meter.cost = spent + verifier_cost(model, completion.usage)
    return completion
