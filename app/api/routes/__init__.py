"""All routes, in the order of the OpenAPI document. A new file with a `router` is added here."""

from fastapi import APIRouter

from app.api.routes import containers, documents, embeddings, operations, pages, tokenizer

_FILES = (embeddings, documents, tokenizer, containers, operations, pages)

router = APIRouter(routes=[route for each in _FILES for route in each.router.routes])
