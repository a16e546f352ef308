"""The engine for servers with OpenAI's HTTP routes."""

from reasoner.engines.openai.engine import OpenAIEngine

__all__ = ["OpenAIEngine"]
