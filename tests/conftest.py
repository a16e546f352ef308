"""Fixtures that every part of the suite may use."""

from pathlib import Path

import pytest

from reasoner.models.embedded import embedded_path


@pytest.fixture(scope="session")
def embedded_model() -> Path:
    """The folder of the embedded model in the user's own cache; converted first where it is missing, about 25 s."""
    return embedded_path(lambda line: None)
