"""What all events of a trace have in common, and those that say what work was paid for."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, TypeVar, dataclass_transform

from reasoner.budget import Cost

if TYPE_CHECKING:
    # Imported only where a trace is read or written: importing pydantic takes longer than a question to a server.
    from pydantic import TypeAdapter

VERSION: Final = 2
T = TypeVar("T")


@cache
def _adapter(cls: type[T]) -> "TypeAdapter[T]":
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


@dataclass_transform(kw_only_default=True, frozen_default=True)
@dataclass(frozen=True, kw_only=True)
class Record:
    """What all events have: a frozen dataclass with the two methods of pydantic's models that are used here."""

    v: Literal[2] = VERSION
    question_id: str
    t: float
    """Seconds since the run began."""
    indexed_by: ClassVar[tuple[str, ...]] = ()
    repeated: ClassVar[bool] = True
    """Whether a plan produces this event again when it is run again and gets the same replies."""
    __pydantic_config__: ClassVar = {"extra": "forbid", "ser_json_inf_nan": "constants"}

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, kw_only=True)(cls)

    @property
    def key(self) -> tuple[Hashable, ...]:
        """What the history of a question finds the event by: its kind, and the fields of `indexed_by`."""
        return (type(self), *(getattr(self, name) for name in self.indexed_by))

    def model_dump_json(self) -> str:
        """The event as JSON."""
        cls: Any = type(self)
        return _adapter(cls).dump_json(self).decode()

    def model_copy(self, *, update: Mapping[str, Any]) -> Self:
        """The event with some fields changed."""
        return replace(self, **update)


class Work(Record):
    """Work that was paid for, whether it completed or not. `op` is the number of the plan's operation."""

    op: int
    prompt: str
    """The digest of the prompt."""
    cost: Cost
    repeated: ClassVar[bool] = False

    @property
    def completed(self) -> bool:
        """Whether this is the outcome; False where the work was cut off and a resumed run does it again."""
        raise NotImplementedError
