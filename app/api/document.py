"""Document: what FastAPI cannot see of this API, added to the OpenAPI document that it makes."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from app.api.document_wire import DocumentsRequest
from app.api.sagemaker import InvocationsRequest
from app.api.schemas import EmbeddingsRequest, TokenizeRequest

# Bodies that are read from bytes.
_BODIES: tuple[type[BaseModel], ...] = (
    EmbeddingsRequest,
    DocumentsRequest,
    TokenizeRequest,
    InvocationsRequest,
)
# FastAPI's own answer to a path it cannot read; ours are read as they are.
_NEVER = ("HTTPValidationError", "ValidationError")
_KEY_OR_NONE: list[dict[str, list[str]]] = [{"key": []}, {"api-key": []}, {"x-api-key": []}, {}]
_DESCRIPTION = """\
Texts become vectors, under the HTTP API of OpenAI and of Jina.

`/embeddings` and `/models` are the same as under `/v1`, and so are both under `/openai/v1`; a slash
at the end changes nothing. Where the service has keys, a request brings one as
`Authorization: Bearer KEY`, `api-key: KEY` or `x-api-key: KEY`.

A field that may be absent may also be null. Unknown fields are ignored and named in
`x-ignored-fields`, but for those that look like a field on which the vectors depend.

Every error has the one body `ErrorBody`. Every answer has an `x-request-id`, the caller's own if it
sent one."""


def describe(app: FastAPI) -> None:
    """Make `app.openapi` say all."""
    app.description = _DESCRIPTION
    app.servers = [{"url": ".", "description": "The service that this document comes from."}]
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()  # FastAPI makes it once and keeps it
        schemas = document["components"]["schemas"]
        for name in _NEVER:
            schemas.pop(name, None)
        for body in _BODIES:
            schema = body.model_json_schema(ref_template="#/components/schemas/{model}")
            within = schema.pop("$defs", {})
            for name, each in {body.__name__: schema, **within}.items():
                schemas[name] = _null_is_absent(each)
        for operations in document["paths"].values():
            for operation in operations.values():
                if "security" in operation:
                    operation["security"] = _KEY_OR_NONE
                if _NEVER[0] in str(operation["responses"].get("422")):
                    del operation["responses"]["422"]
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _null_is_absent(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a body, each field of which may be null where it may be absent."""
    null = {"type": "null"}
    said = ("default", "description", "title")
    for name, field in schema["properties"].items():
        kinds = field.get("anyOf") or [{key: field[key] for key in field if key not in said}]
        if name not in schema.get("required", ()) and null not in kinds:
            kept = {key: field[key] for key in said if key in field}
            schema["properties"][name] = {"anyOf": [*kinds, null], **kept}
    return schema
