"""What a model's own files say of sampling."""

from typing import Any


def sampling_defaults(config: Any) -> dict[str, float]:
    """The sampling parameters of a model's generation config, by name; those that it does not name are missing.

    `config` is vLLM's `VllmConfig`. `max_tokens` is left out: it is how long a reply may be, not how it is sampled.
    """
    defaults: dict[str, float] = config.model_config.get_diff_sampling_param()
    return {name: value for name, value in defaults.items() if name != "max_tokens"}
