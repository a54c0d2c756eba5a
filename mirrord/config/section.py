"""What every section of the configuration has in common.

A section is a frozen pydantic model that refuses unknown keys. Short forms (``true``, ``"steal"``, one string
in place of a list) are turned into the long form before validation, so that each key has one type and an
error's location is the key's dotted path.
"""

from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, model_validator
from pydantic.fields import FieldInfo


@dataclass(frozen=True, slots=True)
class Pending:
    """Marks a key of something that is not built yet: it may be absent, or have its default.

    With ``values``, only these are refused.
    """

    values: tuple[str, ...] = ()

    def refuses(self, value: object, field: FieldInfo) -> bool:
        """Tell whether the key may not have this value yet."""
        if self.values:
            return value in self.values
        return bool(value != field.get_default(call_default_factory=True, validated_data={}))


T = TypeVar("T")
Later = Annotated[T, Pending()]
"""The type of a key that is known, checked, and not supported yet."""


class Section(BaseModel):
    """A section; ``null`` for a known key is as if the key were absent."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, validate_default=False)

    @classmethod
    def expand(cls, value: Any) -> Any:
        """Return the long form of a short one, and everything else as it is."""
        return value

    @model_validator(mode="before")
    @classmethod
    def _normalise(cls, value: Any) -> Any:
        value = cls.expand(value)
        if not isinstance(value, dict):
            return value
        present = {
            key: item for key, item in value.items() if item is not None or key not in cls.model_fields
        }
        # Given as empty sections here, and not as default instances: those would make pydantic build every
        # section's validator twice, once for itself and once within the root's.
        return {name: {} for name in cls.sections()} | present

    @classmethod
    def sections(cls) -> dict[str, type["Section"]]:
        """Return the keys that are sections themselves."""
        types = ((name, field.annotation) for name, field in cls.model_fields.items())
        return {name: kind for name, kind in types if isinstance(kind, type) and issubclass(kind, Section)}


def _one_or_many(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _split_or_many(value: Any) -> Any:
    if isinstance(value, str):
        return [part.strip() for part in value.split(";") if part.strip()]
    return value


Bool = StrictBool
Int = StrictInt
Port = Annotated[int, Field(strict=True, ge=0, le=65535)]
Seconds = Annotated[int, Field(strict=True, ge=0)]
Strings = Annotated[tuple[str, ...], BeforeValidator(_one_or_many)]
"""A list, or one string for a list of one."""
Names = Annotated[tuple[str, ...], BeforeValidator(_split_or_many)]
"""A list, or one string with ``;`` between its parts."""
Ports = Annotated[tuple[Port, ...], BeforeValidator(_one_or_many)]
Anything = Any
"""A part of the tree that is refused as a whole, so that nothing below it needs a model."""
