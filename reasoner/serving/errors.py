"""Errors as OpenAI's clients read them."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from reasoner.errors import (
    BudgetExhausted,
    EngineDied,
    EngineUnavailable,
    PromptTooLong,
    UsageError,
)
from reasoner.system.printing import valid_unicode

MAX_MESSAGE: Final = 2000
"""Characters of an error's message."""
Report = Callable[[str, BaseException], None]
"""Receives a failure that is not described to a client, with the number that the client gets instead."""


@dataclass(eq=False)
class ApiError(Exception):
    """What a client gets instead of a reply: an HTTP `status`, 400 to 599, and OpenAI's error object.

    `param` names the field of the request that is wrong, and `code` the kind of error for programs. `headers` go with
    the response, such as Retry-After.
    """

    status: int
    message: str
    type: str = field(default="invalid_request_error", kw_only=True)
    code: str | None = field(default=None, kw_only=True)
    param: str | None = field(default=None, kw_only=True)
    headers: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        # A message quotes the request, which may hold line breaks and text that is not valid UTF-8.
        self.message = " ".join(valid_unicode(self.message).split())[:MAX_MESSAGE]
        self.param = None if self.param is None else valid_unicode(self.param)

    def __str__(self) -> str:
        return self.message

    def document(self) -> dict[str, Any]:
        """The body of the response."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }


def api_error(failure: BaseException, report: Report | None = None) -> ApiError:
    """The error of a request that failed; a failure that is not the client's fault is not described, but reported."""
    match failure:
        case ApiError():
            return failure
        case PromptTooLong():
            return ApiError(
                400, str(failure), code="context_length_exceeded", param="messages"
            )
        case UsageError():
            return ApiError(400, str(failure))
        case BudgetExhausted():
            return ApiError(
                429, str(failure), type="insufficient_quota", code="budget_exhausted"
            )
        case EngineUnavailable() | EngineDied():
            number, status, code = "-", 503, "engine_unavailable"
            message = "the engine is not available: try again later"
        case _:
            number, status, code = secrets.token_hex(6), 500, "internal_error"
            message = f"internal error {number}: the server's log has its cause under this number"
    if report:
        report(number, failure)
    return ApiError(status, message, type="server_error", code=code)
