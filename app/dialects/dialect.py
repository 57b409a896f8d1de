"""What dialects have in common: the request's base, its way to an EmbeddingsRequest, and what the
application and the OpenAPI document must know of a dialect."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import (
    BaseModel,
    BeforeValidator,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from app.access.callers import KEY_HEADERS
from app.api import inputs
from app.api.context import ErrorForm
from app.api.field_names import (
    ALIASES,
    INPUT_TYPE,
    affecting_vectors,
    check_near_misses,
    disagreement,
    refusal,
    without_nulls,
)
from app.api.openapi import REFUSED_STATUSES, responses
from app.api.request_models import EmbeddingsRequest, RequestBody
from app.api.validation import validated

# Names under which other routes take what changes vectors; how they are written does not.
_WRITTEN = {"embedding_type", *ALIASES["embedding_type"]}
_OURS = affecting_vectors(EmbeddingsRequest.model_fields) - _WRITTEN | {INPUT_TYPE, "prompt_name"}
TEXTS_SCHEMA = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]
}


def _texts(value: Any, info: ValidationInfo) -> list[str]:
    return inputs.texts_in(value, info.field_name or "input")


# Objects or words in one list of a body. Reading an object takes a tenth of a millisecond in which
# the process answers nobody, and a body may have a hundred thousand.
_MOST_OBJECTS = 4096


def _bounded(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, list) and len(value) > _MOST_OBJECTS:
        sentence = "{field} has {given} items; this route reads at most {most} (send it in parts)."
        named = {"field": info.field_name, "given": len(value), "most": _MOST_OBJECTS}
        raise PydanticCustomError("too_long", sentence, named)
    return value


# For such a list. With Field(fail_fast=True) one error says what is wrong, not one for each item.
BOUNDED = BeforeValidator(_bounded)

# A text or a list of them.
Texts = Annotated[list[str], BeforeValidator(_texts), WithJsonSchema(TEXTS_SCHEMA)]


@dataclass(frozen=True, slots=True)
class Dialect:
    """An API: its routes, the models of their bodies, and the form of its errors on `addresses`,
    which match a method and a path. `x-` headers are the same everywhere."""

    router: APIRouter
    bodies: tuple[type[BaseModel], ...]
    error_form: ErrorForm
    addresses: re.Pattern[str]


class DialectRequest(RequestBody):
    """A body in the words of another API. null is absent; names that mean nothing are ignored, but
    for those that look like a field, or are ours for what changes vectors."""

    @model_validator(mode="wrap")
    @classmethod
    def _resolve(cls, body: Any, handler: Any) -> Any:
        fields = without_nulls(body)
        aliases = {name: field.alias or name for name, field in cls.model_fields.items()}
        known = {*aliases, *aliases.values()}
        others = fields.keys() - known
        if misplaced := sorted(others & _OURS):
            sentence = f"is no field of this API, which has {', '.join(cls.model_fields)}."
            raise refusal(misplaced[0], "misplaced", f"{misplaced[0]} {sentence}")
        check_near_misses({name: fields[name] for name in others}, known)
        for name, alias in aliases.items():
            if name in fields and alias in fields and fields[name] != fields[alias]:
                raise disagreement((alias, name))
        request = handler(fields)
        request.ignore(others)
        return request

    def asked(
        self, fields: Mapping[str, Any], way_out: str, names: Mapping[str, str]
    ) -> EmbeddingsRequest:
        """The request that it stands for. `names` are those that the API has for our fields, and
        `way_out` is what it can send where an input is too long."""
        request = validated(EmbeddingsRequest, {**fields})
        request.sent_to(way_out, **names)
        request.replace_surrogates(self.replaced_surrogates)
        request.ignore(self.ignored_fields)
        return request


async def key_in_address(request: Request) -> None:
    """Read a key that is sent as `?key=`, unless a header has one. Queries are never logged."""
    if key := request.query_params.get("key"):
        request.scope["headers"].append((KEY_HEADERS[-1].encode(), key.encode()))


def documented(
    answer: Any, description: str, error: type[BaseModel], refused: Mapping[int, str]
) -> dict[int | str, Any]:
    """The responses of a route for the OpenAPI document: 200, and refusals with the error body of
    its API; `refused` has those statuses that say something else than ours, or do not occur."""
    meanings = {
        status: meaning for status, meaning in {**REFUSED_STATUSES, **refused}.items() if meaning
    }
    described = {
        status: {"model": error, "description": meaning} for status, meaning in meanings.items()
    }
    known = [status for status in meanings if status in REFUSED_STATUSES]
    return responses(answer, description, *known, of_texts=True) | described
