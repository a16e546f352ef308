"""Fixtures that every part of the suite may use."""

from pathlib import Path

import pytest
from hypothesis import settings

from reasoner.models.embedded import embedded_path

# How long an example takes says nothing on a machine that others use too.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def embedded_model() -> Path:
    """The folder of the embedded model in the user's own cache; converted first where it is missing."""
    return embedded_path(lambda line: None)
