"""Short names of strategies with their options, and the names of things in papers, vLLM and other tools."""

from collections.abc import Mapping
from typing import Final

_VOTE: Final = "votes over {} samples; for questions with a short answer"
_AUTO: Final = "votes until the lead is safe, {} effort; for questions with a short answer"
STRATEGIES: Final[Mapping[str, tuple[str, str]]] = {
    "vote8": ("self_consistency:n=8", _VOTE.format(8)),
    "vote16": ("self_consistency:n=16", _VOTE.format(16)),
    "auto-low": ("auto:effort=low", _AUTO.format("low")),
    "auto-medium": ("auto:effort=medium", _AUTO.format("medium")),
    "auto-high": ("auto:effort=high", _AUTO.format("high")),
    "best8": ("best_of_n:n=8", "the best rated of 8 replies, of any form"),
    "universal8": ("universal:n=8", "the reply of 8 that agrees most with the others, of any form"),
    "refine": ("refine:critic=self", "a reply that the model reviews and revises, of any form"),
}
"""Aliases of strategies: the spec and what it is for. A server offers them all as models, `MODEL@NAME`; in a spec they
are written like a strategy, which goes first where it has the same name."""

ALIASES: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "strategy": {
        "adaptive_consistency": ("asc",),
        "beam_search": ("beam",),
        "best_of_n": ("bon",),
        "budget_forcing": ("s1",),
        "early_stopping": ("esc",),
        "particle_filter": ("pf", "smc"),
        "refine": ("self_refine",),
        "self_consistency": ("cot_sc", "maj", "majority", "majority_vote", "sc", "voting"),
        "single": ("cot", "greedy"),
        "tree_of_thoughts": ("tot",),
        "universal": ("usc",),
    },
    "verifier": {
        "certainty": ("self_certainty",),
        "code": ("tests",),
        "judge": ("llm_judge",),
        "orm": ("reward", "reward_model", "rm"),
        "rules": ("regex",),
    },
    "engine": {
        "openai": ("api", "http", "llama.cpp", "ollama", "server", "sglang"),
        "simulated": ("fake", "mock"),
        "vllm": ("hf", "transformers"),
    },
    "answer kind": {
        "choice": ("mc", "mcq", "multiple_choice"),
        "math": ("expression", "formula", "latex"),
        "number": ("float", "int", "integer", "numeric"),
        "text": ("str", "string"),
        "yes_no": ("bool", "boolean"),
    },
    "command": {
        "doctor": ("check", "info", "status"),
        "eval": ("bench", "benchmark", "evaluate", "evaluation", "test"),
        "list": ("ls", "show"),
        "solve": ("answer", "ask", "chat", "generate", "prompt", "query", "run"),
    },
    "option": {
        "base_url": ("api_base",),
        "context": ("max_model_len",),
        "enable_prefix_caching": ("prefix_caching",),
        "gpu_memory_utilization": ("gpu_memory",),
        "max_model_len": ("context",),
        "max_num_seqs": ("max_sequences",),
        "max_tokens": ("max_length", "max_new_tokens"),
        "model_id": ("model",),
        "n": ("k", "num_return_sequences", "num_samples", "samples"),
        "temperature": ("t", "temp"),
    },
    "budget unit": {
        "seconds": ("time",),
        "tokens": ("max_tokens",),
        "usd": ("cost", "dollars", "money"),
    },
}
"""For each kind of object, the names in other tools of a name here."""

_STRATEGY: Final = "--strategy self_consistency:"
COMMAND_OPTIONS: Final[Mapping[str, tuple[str, str]]] = {
    **dict.fromkeys(("-N", "-k", "--k", "--n", "--num-return-sequences", "--num-samples", "--samples"), ("-n ", "8")),
    **dict.fromkeys(("-t", "-T", "--t", "--temp"), ("--temperature ", "0.7")),
    **dict.fromkeys(("--max-length", "--max-new-tokens"), ("--max-tokens ", "512")),
    "--api-key": ("--engine openai:api_key=", "KEY"),
    "--dtype": ("--engine vllm:dtype=", "float32"),
    **dict.fromkeys(("--examples", "--shots"), ("--few-shot ", "FILE")),
    "--gpu-memory-utilization": ("--engine vllm:gpu_memory_utilization=", "0.9"),
    **dict.fromkeys(("--host", "--server", "--url"), ("--base-url ", "http://localhost:8000/v1")),
    "--max-model-len": ("--engine vllm:max_model_len=", "4096"),
    "--min-p": (f"{_STRATEGY}min_p=", "0.05"),
    **dict.fromkeys(("--model-id", "--model-name", "--model-path"), ("--model ", "PATH_OR_ID")),
    **dict.fromkeys(("--out", "--output-file"), ("--output ", "FILE")),
    "--silent": ("--quiet", ""),
    "--system-prompt": ("--system ", "TEXT"),
    "--timeout": ("--budget seconds=", "30"),
    "--tokens": ("--budget tokens=", "2000"),
    "--top-k": (f"{_STRATEGY}top_k=", "40"),
    "--top-p": (f"{_STRATEGY}top_p=", "0.95"),
}
"""Options of other commands: the same option here, up to its value, and an example value."""


def known_as(kind: str, name: str) -> str:
    """The name of the same thing here; empty if the name is unknown."""
    other = name.lower().replace("-", "_")
    return next((own for own, others in ALIASES.get(kind, {}).items() if other in others), "")
