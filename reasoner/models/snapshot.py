"""Whether a snapshot in the Hugging Face cache is complete: an interrupted download leaves some of the files."""

import re
from pathlib import Path

from reasoner.files import read_object

_CONFIGS = ("config.json", "params.json")  # of Hugging Face and of Mistral
_TOKENIZERS = ("tokenizer.json", "tekken.json", "vocab.json", "vocab.txt", "tokenizer.model*", "*.model", "*.tiktoken")
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_SHARD = re.compile(r"(?P<stem>.+)-\d+-of-(?P<count>\d{1,5})(?P<ending>\.\w+)")


def snapshot(model: str) -> Path | None:
    """The folder of a Hugging Face id in the hub's cache; None if it or a necessary file is missing."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    configs = (try_to_load_from_cache(model, config) for config in _CONFIGS)
    folder = next((Path(file).parent for file in configs if isinstance(file, str)), None)
    return folder if folder and is_complete(folder) else None


def is_complete(folder: Path) -> bool:
    """Whether a snapshot has a tokenizer and all shards of its weights, and no download is unfinished."""
    blobs = folder.parents[1] / "blobs"
    if any(blobs.glob("*.incomplete")):
        return False
    here = {file.name for file in folder.iterdir() if file.exists()}  # a link to a missing blob does not exist
    if not any(any(folder.glob(pattern)) for pattern in _TOKENIZERS):
        return False
    weights = {file.name for pattern in _WEIGHTS for file in folder.glob(pattern)} & here
    return bool(weights) and _expected(folder, weights) <= here


def _expected(folder: Path, weights: set[str]) -> set[str]:
    """The weight files that an index lists, and those that the numbered names of shards imply."""
    expected: set[str] = set()
    for index in folder.glob("*.index.json"):
        try:
            listed = set(read_object(index)["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {index.name + " is damaged"}
        # A repository may index a second format, which vLLM does not download.
        expected |= listed if listed & weights else set()
    for shard in filter(None, map(_SHARD.fullmatch, weights)):
        count, width = int(shard["count"]), len(shard["count"])
        names = (f"{shard['stem']}-{n:0{width}}-of-{shard['count']}{shard['ending']}" for n in range(1, count + 1))
        expected |= set(names)
    return expected
