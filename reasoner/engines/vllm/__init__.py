"""vLLM inside this program: an engine that generates, one that rates, and what they share."""

from reasoner.engines.vllm.engine import VllmEngine

__all__ = ["VllmEngine"]
