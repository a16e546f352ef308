"""A model's geometry, and the cost that follows: KV bytes per token, FLOPs."""

from dataclasses import dataclass

from reasoner.models.thinking import ThinkingProfile
from reasoner.types import SamplingParams, Usage


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model's name and geometry; 0 means unknown.

    `context` is the window in tokens, prompt and generation together. A token passes through `active_parameters`, 0
    for all `parameters`. `head_dim` is the mean of the sizes of a key and a value. `kv_bytes_per_element` is 2 for a
    16-bit cache. In a `plain` model every layer caches `kv_heads` x `head_dim` keys and values, and attends to all
    tokens, or as `windowed_layers` do to the latest `window` ones. Its KV bytes and FLOPs are known, those of others
    are not. `thinking` says how it thinks; None for a model that does not. `sampling` is what its generation config
    says of sampling. With `served`, a server runs it that has values of its own for what is unknown here. `room` is how
    many tokens the KV cache of its engine holds at once. `probed` says whether its engine can continue a reply after a
    forced text, as probes do.
    """

    name: str
    context: int = 0
    parameters: int = 0
    layers: int = 0
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    kv_bytes_per_element: int = 2
    revision: str = ""
    active_parameters: int = 0
    plain: bool = True
    windowed_layers: int = 0
    window: int = 0
    thinking: ThinkingProfile | None = None
    sampling: SamplingParams = SamplingParams()
    served: bool = False
    room: int = 0
    probed: bool = False

    @property
    def kv_bytes_per_token(self) -> int:
        """2 x layers x kv_heads x head_dim x bytes per element; 0 where it is unknown. A token may leave windows."""
        return (
            2 * self.layers * self.kv_heads * self.head_dim * self.kv_bytes_per_element
            if self.plain
            else 0
        )

    def flops_of(self, usage: Usage) -> int | None:
        """Floating-point operations of one request; None where the geometry is unknown."""
        return self.flops(
            prompt=usage.prompt_tokens,
            cached=usage.cached_tokens,
            generated=usage.generated_tokens,
        )

    def flops(self, *, prompt: int, cached: int, generated: int) -> int | None:
        """Floating-point operations of one request, or None without geometry.

        With P active parameters, L layers, prompt C (C0 cached), T generated and d = heads x head_dim:
        `2P[(C-C0)+T] + 2dL[(C+T)^2 - C0^2]`; where a layer has a window W, n^2 is `n^2 - (n-W)^2` for an n beyond it.
        Exact integers, so sums do not drift.
        """
        if not (
            self.plain
            and self.parameters
            and self.layers
            and self.heads
            and self.head_dim
        ):
            return None
        end = prompt + generated
        linear = 2 * (self.active_parameters or self.parameters) * (end - cached)
        pairs = self.layers * (end**2 - cached**2)
        beyond, before = max(end - self.window, 0), max(cached - self.window, 0)
        pairs -= self.windowed_layers * (beyond**2 - before**2)
        return linear + 2 * self.heads * self.head_dim * pairs
