"""A model's geometry, and the cost that follows: KV bytes per token, FLOPs."""

from dataclasses import dataclass

from reasoner.models.thinking import ThinkingProfile
from reasoner.sampling import SamplingParams


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model's name and geometry; 0 means unknown.

    `context` is the window in tokens, prompt and generation together. `kv_bytes_per_element` is 2 for a 16-bit cache.
    `thinking` says how it thinks; None for a model that does not. `sampling` is what its generation config says of
    sampling. With `served`, a server runs it that has values of its own for what is unknown here.
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
    thinking: ThinkingProfile | None = None
    sampling: SamplingParams = SamplingParams()
    served: bool = False

    @property
    def attention(self) -> str:
        """MHA, GQA or MQA, by how many query heads share a KV head; "unknown" without geometry."""
        if not self.kv_heads:
            return "unknown"
        if self.kv_heads == 1:
            return "MQA"
        return "MHA" if self.kv_heads == self.heads else "GQA"

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of KV cache for one token: 2 x layers x kv_heads x head_dim x bytes per element."""
        return 2 * self.layers * self.kv_heads * self.head_dim * self.kv_bytes_per_element

    def flops(self, *, prompt: int, cached: int, generated: int) -> int | None:
        """Floating-point operations of one request, or None without geometry.

        With P parameters, prompt C of which C0 cached, T generated and d = layers x heads x head_dim:
        `2P[(C-C0)+T] + 2d[(C^2-C0^2) + (2C+T)T]`. Exact integers, so sums do not drift.
        """
        if not (self.parameters and self.layers and self.heads and self.head_dim):
            return None
        width = self.layers * self.heads * self.head_dim
        linear = 2 * self.parameters * ((prompt - cached) + generated)
        attention = 2 * width * ((prompt**2 - cached**2) + (2 * prompt + generated) * generated)
        return linear + attention
