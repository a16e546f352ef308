"""Errors in OpenAI's form: what a client did wrong is said, what is not its business is not."""

import json

import pytest
from openai.types import ErrorObject

from reasoner.errors import (
    BudgetExhausted,
    EngineDied,
    EngineError,
    EngineUnavailable,
    PlanError,
    PromptTooLong,
    UnknownName,
    UsageError,
    VerifierError,
)
from reasoner.serving.errors import MAX_MESSAGE, ApiError, api_error
from tests.serving.asking import read_as

SECRET = "/home/owner/key sk-123"


@pytest.mark.parametrize(
    ("failure", "status", "type", "code"),
    [
        (UsageError("n must be at least 1"), 400, "invalid_request_error", None),
        (UnknownName("strategy", "x", ["single"]), 400, "invalid_request_error", None),
        (PromptTooLong(9, 5), 400, "invalid_request_error", "context_length_exceeded"),
        (
            BudgetExhausted("tokens", needed=9, free=1, limit=5),
            429,
            "insufficient_quota",
            "budget_exhausted",
        ),
        (EngineUnavailable(SECRET), 503, "server_error", "engine_unavailable"),
        (EngineDied(SECRET), 503, "server_error", "engine_unavailable"),
        (EngineError(SECRET), 500, "server_error", "internal_error"),
        (PlanError(SECRET), 500, "server_error", "internal_error"),
        (VerifierError(SECRET), 500, "server_error", "internal_error"),
        (ZeroDivisionError(SECRET), 500, "server_error", "internal_error"),
    ],
)
def test_every_failure_has_its_error(
    failure: BaseException, status: int, type: str, code: str | None
) -> None:
    error = api_error(failure)
    assert (error.status, error.type, error.code) == (status, type, code)
    document = error.document()
    read_as(ErrorObject, document["error"])
    assert SECRET not in json.dumps(document)
    assert (status < 500) == (document["error"]["message"] == str(failure))


def test_a_message_is_bounded_and_valid() -> None:
    error = ApiError(400, "\ud800" * 9999, param="\udfff")
    assert error.message == "\ufffd" * MAX_MESSAGE
    json.dumps(error.document(), ensure_ascii=False).encode()
