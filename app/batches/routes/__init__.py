"""The routes of batch jobs, and what the OpenAPI document must know of them."""

from fastapi import APIRouter
from pydantic import BaseModel

from app.batches.models import BatchRequest, FileForm, JinaBatchRequest
from app.batches.routes import batches, files, jina

BODIES: tuple[type[BaseModel], ...] = (FileForm, BatchRequest, JinaBatchRequest)

router = APIRouter(
    routes=[route for each in (files, batches, jina) for route in each.router.routes]
)
