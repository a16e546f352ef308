"""Reads the body of a request: JSON from a stranger becomes a checked model, or an `ApiError` with status 400."""

import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import from_json

from reasoner.errors import shown
from reasoner.serving.errors import ApiError
from reasoner.system.printing import valid_unicode

R = TypeVar("R", bound=BaseModel)
MAX_BODY: Final = 4 << 20
"""Bytes of a body."""


def read(body: bytes, model: type[R], **more: object) -> R:
    """The request in a body of JSON, with `more` fields; a field that is null counts as left out.

    Raises:
        ApiError: 400, it is not JSON or does not fit the model.
    """
    try:
        document = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ApiError(400, f"the body must be a JSON object (got {shown(document)})")
    fields = {
        name: value for name, value in {**document, **more}.items() if value is not None
    }
    ignored, refused = getattr(model, "ignored", ()), getattr(model, "refused", {})
    if not fields.keys().isdisjoint((*ignored, *refused)):
        for name in ignored:
            fields.pop(name, None)
        for name, why in refused.items():
            if fields.pop(name, False) not in (False, [], {}, ""):
                raise ApiError(
                    400,
                    f"{name} is not supported: {why}",
                    code="unsupported_parameter",
                    param=name,
                )
    with checked(model):
        return model.model_validate(fields, strict=True)


@contextmanager
def checked(model: type[BaseModel]) -> Iterator[None]:
    """What does not fit the model in this block is a 400: all that clients send becomes values in such blocks."""
    try:
        yield
    except ValidationError as error:
        raise problem_of(error, model) from None


def problem_of(error: ValidationError, model: type[BaseModel]) -> ApiError:
    """The most specific problem, in one line; of a union's problems, the one of the form that fits best."""
    # Problems of a body; of more, only the number is said
    if error.error_count() > 2048:
        return ApiError(
            400,
            f"the body has {error.error_count():,} fields that are unknown or do not fit",
        )
    problem = max(
        error.errors(include_url=False, include_context=False),
        key=lambda each: (
            len(each["loc"]),
            each["type"] in ("extra_forbidden", "value_error"),
        ),
    )
    where: list[int | str] = []
    fields = dict(model.model_fields)
    keyed = False
    for part in problem["loc"]:
        # Parts that are no field, index or key are the names of a union's forms.
        if keyed or isinstance(part, int):
            where.append(part)
            keyed = False
        elif part in fields:
            where.append(part)
            annotation = fields[part].annotation
            fields, keyed = _fields_in(annotation), get_origin(annotation) is dict
    param = _param(where)
    match problem["type"]:
        case "extra_forbidden":
            name, known = str(problem["loc"][-1]), sorted(fields)
            near = difflib.get_close_matches(name[:100], known, n=1, cutoff=0.6)
            guess = (
                f": did you mean {near[0]}?"
                if near
                else f" (there are: {', '.join(known)})"
            )
            param = _param([*where, name])
            return ApiError(
                400,
                f"unknown field {shown(param)}{guess}",
                code="unknown_parameter",
                param=param,
            )
        case "missing":
            return ApiError(
                400,
                f"{param} is missing: it is required",
                code="missing_required_parameter",
                param=param,
            )
    message = (
        problem["msg"]
        .removeprefix("Value error, ")
        .replace("Input should be", "it must be")
    )
    message = re.sub(r"a valid dictionary or instance of \w+", "an object", message)
    given = f" (got {shown(problem['input'])})"
    if problem["type"] == "value_error" or isinstance(problem["input"], dict | list):
        given = ""
    return ApiError(
        400,
        f"{param or 'the body'}: {message[:1].lower()}{message[1:]}{given}",
        param=param or None,
    )


def _fields_in(annotation: Any) -> dict[str, FieldInfo]:
    """The fields of all models in a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return dict(annotation.model_fields)
    return {
        name: each
        for part in getattr(annotation, "__args__", ())
        for name, each in _fields_in(part).items()
    }


def _param(where: list[int | str]) -> str:
    """A position as in `messages[0].content`, at most 200 characters of it."""
    text = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in where
    )
    return valid_unicode(text.removeprefix("."))[:200]
