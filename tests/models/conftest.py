"""The embedded model: fetched into the user's cache if it is not there, and converted for real once a session."""

import importlib.util
from pathlib import Path

import pytest

from reasoner.models.embedded import GGUF, embedded_path, weights_file


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the embedded model; REASONER_CACHE was its grandparent."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed, which converts the embedded model")
    cache = tmp_path_factory.mktemp("cache")
    share_weights(cache)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REASONER_CACHE", str(cache))
        return embedded_path(lambda line: None)


def share_weights(cache: Path) -> None:
    """Link the weights of the user's own cache into another one, so that they are not fetched again."""
    (cache / "weights").mkdir(parents=True)
    (cache / "weights" / GGUF).symlink_to(weights_file(lambda line: None))
