"""Fixtures of the evaluation commands' tests: those of the command's own."""

from tests.cli.conftest import _plain_environment, run

__all__ = ["_plain_environment", "run"]
