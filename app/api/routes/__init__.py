"""All routes, in the order of the OpenAPI document. A new file with a `router` is added here."""

from fastapi import APIRouter

from app.api.routes import documents, embeddings, invocations, operations, pages, tokenize

_FILES = (embeddings, documents, tokenize, invocations, operations, pages)

router = APIRouter(routes=[route for each in _FILES for route in each.router.routes])
