"""Reads the body of a request: JSON from a stranger becomes a checked model, or an `ApiError` with status 400."""

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from reasoner.errors import shown
from reasoner.serving.errors import ApiError
from reasoner.system.files import parse_json
from reasoner.system.printing import valid_unicode

R = TypeVar("R", bound=BaseModel)
MAX_BODY: Final = 4 << 20
"""Bytes of a body."""
MAX_FIELDS: Final = 2048
"""Fields of one object in a body."""
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def read(body: bytes, model: type[R]) -> R:
    """The request in a body of JSON; a field that is null counts as left out.

    Raises:
        ApiError: 413 for a body that is too long, 400 for one that is not JSON or does not fit the model.
    """
    fields = {name: value for name, value in _object(body).items() if value is not None}
    for name in getattr(model, "ignored", ()):
        fields.pop(name, None)
    for name, why in getattr(model, "refused", {}).items():
        if fields.pop(name, False) not in (False, [], {}, ""):
            raise ApiError(400, f"{name} is not supported: {why}", code="unsupported_parameter", param=name)
    try:
        return model.model_validate(fields, strict=True)
    except ValidationError as error:
        raise problem_of(error, model) from None


def _object(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_BODY:
        raise ApiError(413, f"the body has {len(body):,} bytes: at most {MAX_BODY:,} are allowed")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise ApiError(400, f"the body is not UTF-8: byte {error.start} cannot be decoded") from None
    try:
        document = parse_json(text, pairs=_unique)
        if _SURROGATE.search(text):
            json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ApiError(400, "the body holds half of a surrogate pair, which is not text: leave it out") from None
    except json.JSONDecodeError as error:
        raise ApiError(400, f"the body is not JSON: {error.msg} at character {error.pos + 1}") from None
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON that can be read: {error}") from None
    if not isinstance(document, dict):
        raise ApiError(400, f"the body must be a JSON object (got {shown(document)})")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_FIELDS:
        raise ApiError(400, f"an object must have at most {MAX_FIELDS:,} fields (got {len(pairs):,})")
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ApiError(400, f"{shown(twice)} is given twice: keep one", param=_param([twice]))
    return fields


def problem_of(error: ValidationError, model: type[BaseModel]) -> ApiError:
    """The most telling problem, in one line: of a union's problems, that of the form that fits best."""
    problem = max(
        error.errors(include_url=False, include_context=False),
        key=lambda each: (len(each["loc"]), each["type"] in ("extra_forbidden", "value_error")),
    )
    where: list[int | str] = []
    part_of: Any = model
    for part in problem["loc"]:
        # Other parts are the names of a union's forms.
        if isinstance(part, int) or part in getattr(part_of, "model_fields", {}):
            where.append(part)
            part_of = part_of if isinstance(part, int) else _model_in(part_of.model_fields[part].annotation)
    param = _param(where)
    match problem["type"]:
        case "extra_forbidden":
            name, known = str(problem["loc"][-1]), sorted(part_of.model_fields)
            near = difflib.get_close_matches(name[:100], known, n=1, cutoff=0.6)
            guess = f": did you mean {near[0]}?" if near else f" (there are: {', '.join(known)})"
            param = _param([*where, name])
            return ApiError(400, f"unknown field {shown(param)}{guess}", code="unknown_parameter", param=param[:200])
        case "missing":
            return ApiError(400, f"{param} is missing: it is required", code="missing_required_parameter", param=param)
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "it must be")
    given = f" (got {shown(problem['input'])})"
    if problem["type"] == "value_error" or isinstance(problem["input"], dict | list):
        given = ""
    return ApiError(400, f"{param or 'the body'}: {message[:1].lower()}{message[1:]}{given}", param=param or None)


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, getattr(annotation, "__args__", ()))), None)


def _param(where: Iterable[int | str]) -> str:
    """A position as in `messages[0].content`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where)
    return valid_unicode(text.removeprefix("."))
