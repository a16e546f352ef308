"""Names from papers, vLLM and other tools, and the names of the same things here."""

from collections.abc import Mapping
from typing import Final

ALIASES: Final[Mapping[str, Mapping[str, str]]] = {
    "strategy": {
        "asc": "adaptive_consistency",
        "beam": "beam_search",
        "bon": "best_of_n",
        "cot": "single",
        "cot_sc": "self_consistency",
        "esc": "early_stopping",
        "greedy": "single",
        "maj": "self_consistency",
        "majority": "self_consistency",
        "majority_vote": "self_consistency",
        "pf": "particle_filter",
        "s1": "budget_forcing",
        "sc": "self_consistency",
        "self_refine": "refine",
        "smc": "particle_filter",
        "tot": "tree_of_thoughts",
        "usc": "universal",
        "voting": "self_consistency",
    },
    "verifier": {
        "llm_judge": "judge",
        "regex": "rules",
        "reward": "orm",
        "reward_model": "orm",
        "rm": "orm",
        "self_certainty": "certainty",
        "tests": "code",
    },
    "engine": {
        "api": "openai",
        "fake": "simulated",
        "hf": "vllm",
        "http": "openai",
        "llama.cpp": "openai",
        "mock": "simulated",
        "ollama": "openai",
        "server": "openai",
        "sglang": "openai",
        "transformers": "vllm",
    },
    "option": {
        "api_base": "base_url",
        "context": "max_model_len",
        "gpu_memory": "gpu_memory_utilization",
        "k": "n",
        "max_length": "max_tokens",
        "max_model_len": "context",
        "max_new_tokens": "max_tokens",
        "max_sequences": "max_num_seqs",
        "model": "model_id",
        "num_return_sequences": "n",
        "num_samples": "n",
        "prefix_caching": "enable_prefix_caching",
        "samples": "n",
        "t": "temperature",
        "temp": "temperature",
    },
    "budget unit": {"cost": "usd", "dollars": "usd", "max_tokens": "tokens", "money": "usd", "time": "seconds"},
}
"""By the kind of the named thing."""

_STRATEGY: Final = "--strategy self_consistency:"
COMMAND_OPTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "-k": (f"{_STRATEGY}n=", "8"),
    "-n": (f"{_STRATEGY}n=", "8"),
    "-t": (f"{_STRATEGY}temperature=", "0.7"),
    "--api-key": ("--engine openai:api_key=", "KEY"),
    "--dtype": ("--engine vllm:dtype=", "float32"),
    "--gpu-memory-utilization": ("--engine vllm:gpu_memory_utilization=", "0.9"),
    "--max-model-len": ("--engine vllm:max_model_len=", "4096"),
    "--max-new-tokens": (f"{_STRATEGY}max_tokens=", "512"),
    "--max-tokens": (f"{_STRATEGY}max_tokens=", "512"),
    "--min-p": (f"{_STRATEGY}min_p=", "0.05"),
    "--n": (f"{_STRATEGY}n=", "8"),
    "--num-samples": (f"{_STRATEGY}n=", "8"),
    "--samples": (f"{_STRATEGY}n=", "8"),
    "--temp": (f"{_STRATEGY}temperature=", "0.7"),
    "--temperature": (f"{_STRATEGY}temperature=", "0.7"),
    "--tokens": ("--budget tokens=", "2000"),
    "--top-k": (f"{_STRATEGY}top_k=", "40"),
    "--top-p": (f"{_STRATEGY}top_p=", "0.95"),
}
"""Options of other commands: the same option here, up to its value, and an example value."""


def known_as(kind: str, name: str) -> str:
    """The name of the same thing here; empty if the name is unknown."""
    return ALIASES.get(kind, {}).get(name.lower().replace("-", "_"), "")
