"""The `metadata` of a job: a caller's own texts, within OpenAI's bounds."""

from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from model.quoting import shortened

_ENTRIES, _KEY_CHARACTERS, _VALUE_CHARACTERS = 16, 64, 512
_METADATA_SCHEMA = {
    "type": "object",
    "maxProperties": _ENTRIES,
    "propertyNames": {"maxLength": _KEY_CHARACTERS},
    "additionalProperties": {"type": "string", "maxLength": _VALUE_CHARACTERS},
}


def _bounded(metadata: Any) -> Any:
    """The first fault alone: there may be a million.

    Raises:
        PydanticCustomError: it is over a bound, or holds something else than texts.
    """
    if not isinstance(metadata, dict):
        raise PydanticCustomError("dict_type", "metadata must be an object whose values are texts")
    _check_length("metadata", len(metadata), _ENTRIES, "entries")
    for key, text in metadata.items():
        _check_length(f"the key {shortened(key)} of metadata", len(key), _KEY_CHARACTERS)
        name = f"metadata.{key}"
        if not isinstance(text, str):
            raise PydanticCustomError("string_type", "{name} must be a text", {"name": name})
        _check_length(name, len(text), _VALUE_CHARACTERS)
    return metadata


def _check_length(name: str, size: int, most: int, units: str = "characters") -> None:
    if size > most:
        sentence = "{name} has {size} {units}; a job keeps at most {most}. Send fewer"
        values = {"name": name, "size": size, "units": units, "most": most}
        raise PydanticCustomError("too_long", sentence, values)


Metadata = Annotated[dict[str, str], BeforeValidator(_bounded), WithJsonSchema(_METADATA_SCHEMA)]
