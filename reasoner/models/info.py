"""A model's geometry, and the cost that follows: KV bytes per token, FLOPs."""

from dataclasses import dataclass

from reasoner.models.thinking import ThinkingProfile
from reasoner.types import SamplingParams


@dataclass(frozen=True, slots=True)
class CachedLayers:
    """Attention layers with equal KV caches: `bytes_per_token` in each of them, for the last `window` tokens.

    A window of 0 keeps all tokens. A recurrent layer has a window of 1, its state.
    """

    layers: int
    bytes_per_token: int
    window: int = 0


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model's name and geometry; 0 means unknown.

    `context` is the window in tokens, prompt and generation together. A token passes through `active_parameters`, 0
    for all `parameters`. `head_dim` is the mean of the sizes of a key and a value. `kv_bytes_per_element` is 2 for a
    16-bit cache. `caches` are the layers that have a KV cache, empty where they are unknown, None if all have one of
    `kv_heads` x `head_dim` keys and values. `thinking` says how it thinks; None for a model that does not. `sampling`
    is what its generation config says of sampling. With `served`, a server runs it that has values of its own for what
    is unknown here.
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
    caches: tuple[CachedLayers, ...] | None = None
    thinking: ThinkingProfile | None = None
    sampling: SamplingParams = SamplingParams()
    served: bool = False

    @property
    def cached_layers(self) -> tuple[CachedLayers, ...]:
        """The layers that have a KV cache, grouped."""
        size = 2 * self.kv_heads * self.head_dim * self.kv_bytes_per_element
        return (CachedLayers(self.layers, size),) if self.caches is None else self.caches

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of KV cache that a token adds to a long sequence: layers with a window add none, unless all have one.

        Where all layers are alike: 2 x layers x kv_heads x head_dim x bytes per element.
        """
        growing = [group for group in self.cached_layers if not group.window] or self.cached_layers
        return sum(group.layers * group.bytes_per_token for group in growing)

    def flops(self, *, prompt: int, cached: int, generated: int) -> int | None:
        """Floating-point operations of one request, or None without geometry.

        With P active parameters, prompt C of which C0 cached, T generated and d = heads x head_dim:
        `2P[(C-C0)+T] + 2d sum[S(C+T)-S(C0)]` over the layers of attention, where S(x) is x^2, and past a window w
        2wx - w^2. Exact integers, so sums do not drift.
        """
        if not (self.parameters and self.layers and self.heads and self.head_dim and self.cached_layers):
            return None
        end = prompt + generated
        linear = 2 * (self.active_parameters or self.parameters) * (end - cached)
        attended = sum(
            group.layers * (_positions(end, group.window) - _positions(cached, group.window))
            for group in self.cached_layers
        )
        return linear + 2 * self.heads * self.head_dim * attended


def _positions(tokens: int, window: int) -> int:
    """Twice the number of pairs of a token and one that it attends to."""
    return window * (2 * tokens - window) if window and tokens > window else tokens**2
