"""Endpoints, of at most ten lines each."""

from pathlib import Path

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse

from app.api import documents, examples, reference, sagemaker, tokens
from app.api.admission import admitted, identified, identify
from app.api.answers import (
    EmbeddingsResponse,
    Health,
    Info,
    InvocationsResponse,
    Model,
    ModelList,
    TokenizeResponse,
    WorkerInfo,
)
from app.api.connection import unless_gone
from app.api.context import request_of, service_of
from app.api.document_wire import DocumentsResponse
from app.api.documented import JSON, NO_ENGINE, answers, body_of, noted, refused
from app.api.vectors import to_json
from app.errors import UnknownModelError

PLAYGROUND = Path(__file__).parent.parent / "playground"
# The page loads what stands beside it, asks this service, and nothing else.
_PLAYGROUND_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

# The reference is text and a style.
_REFERENCE_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)

router = APIRouter()
_KNOWN = [Depends(identified)]
_LIMITED = [*_KNOWN, Depends(admitted)]


@router.post(
    "/v1/embeddings",
    dependencies=_LIMITED,
    response_class=Response,
    responses=noted(EmbeddingsResponse, "A vector for each input, in order."),
    openapi_extra=body_of("EmbeddingsRequest", examples.EMBEDDINGS),
)
async def create_embeddings(request: Request) -> Response:
    """Texts -> vectors, read by the adapter of the task."""
    return await _embeddings(request, None)


@router.post(
    "/openai/deployments/{name:path}/embeddings",
    dependencies=_LIMITED,
    response_class=Response,
    responses=noted(EmbeddingsResponse, "A vector for each input, in order."),
    openapi_extra=body_of("EmbeddingsRequest", examples.AZURE),
)
async def create_azure_embeddings(request: Request, name: str) -> Response:
    """The same under the address of Azure OpenAI's clients, whose deployment is a served name. It
    comes before a `model` in the body, as on Azure; one that differs is named as ignored."""
    return await _embeddings(request, name)


async def _embeddings(request: Request, model: str | None) -> Response:
    service, context = service_of(request.app), request_of(request)
    async with service.body(request) as body:
        answering = service.embeddings.answer(body, context.budget, model)
        embedded = await unless_gone(request, answering)
    service.record(context, embedded.facts())
    answer = embedded.body(service.embeddings.signed(embedded.request))
    return Response(answer, media_type=JSON, headers=embedded.notes())


@router.post(
    "/v1/documents",
    dependencies=_LIMITED,
    response_class=Response,
    responses=noted(DocumentsResponse, "Each document's chunks, in order."),
    openapi_extra=body_of("DocumentsRequest", examples.DOCUMENTS),
)
async def create_documents(request: Request) -> Response:
    """Documents -> their chunks, each with its place in the text and its vector. With late chunking
    a document is read once, and every chunk's vector knows what stands around it."""
    service, context = service_of(request.app), request_of(request)
    async with service.body(request) as body:
        answering = documents.answer(service.embeddings, body, context.budget)
        answered = await unless_gone(request, answering)
    service.record(context, answered.facts())
    return Response(answered.body, media_type=JSON, headers=answered.notes())


@router.post(
    "/tokenize",
    dependencies=_LIMITED,
    response_class=Response,
    responses=noted(TokenizeResponse, "The tokens of each input.", *NO_ENGINE),
    openapi_extra=body_of("TokenizeRequest", examples.TOKENIZE),
)
async def tokenize(request: Request) -> Response:
    """Texts -> token ids and counts, and whether they fit; nothing is embedded."""
    service = service_of(request.app)
    async with service.body(request) as body:
        answer, notes = await tokens.tokenize(service.embeddings, body)
    return Response(answer, media_type=JSON, headers=notes)


@router.post(
    "/invocations",
    dependencies=_LIMITED,
    response_class=Response,
    responses=noted(InvocationsResponse, "A vector for each text, in order."),
    openapi_extra=body_of("InvocationsRequest", examples.INVOCATIONS, examples.INVOCATIONS_CSV),
)
async def invocations(request: Request) -> Response:
    """The contract of SageMaker's and Azure Marketplace's containers."""
    service, context = service_of(request.app), request_of(request)
    kind = request.headers.get("content-type", JSON)
    async with service.body(request) as body:
        invoked = sagemaker.invoke(service.embeddings, body, kind, context.budget)
        answer, embedded = await unless_gone(request, invoked)
    service.record(context, embedded.facts())
    return Response(answer, media_type=JSON, headers=embedded.notes())


@router.get("/info", dependencies=_KNOWN, responses=answers(Info, "What is served.", 401))
async def info(request: Request) -> Response:
    """What is served: model, sizes, limits, tasks, workers."""
    service = service_of(request.app)
    workers = [
        {name: getattr(worker, name) for name in WorkerInfo.model_fields}
        for worker in service.engine.workers
    ]
    return Response(to_json({**service.info, "workers": workers}), media_type=JSON)


@router.get("/", include_in_schema=False)
async def playground() -> Response:
    """The page to explore the service with."""
    headers = {"content-security-policy": _PLAYGROUND_POLICY}
    return FileResponse(PLAYGROUND / "index.html", headers=headers)


@router.get("/docs", include_in_schema=False)
async def reference_page(request: Request) -> Response:
    """The OpenAPI document as a page."""
    service = service_of(request.app)
    if service.reference_page is None:  # it asks for no key, so it is made once
        service.reference_page = reference.page(request.app.openapi())
    headers = {"content-security-policy": _REFERENCE_POLICY}
    return HTMLResponse(service.reference_page, headers=headers)


@router.get("/docs/", include_in_schema=False)
async def reference_page_with_a_slash() -> Response:
    """To where the page's relative links lead to something, wherever a proxy has put it."""
    return RedirectResponse("../docs")


@router.get(
    "/v1/models", dependencies=_KNOWN, responses=answers(ModelList, "The served names.", 401)
)
async def list_models(request: Request) -> Response:
    """The served names."""
    models = [model.model_dump() for model in service_of(request.app).models]
    return Response(to_json({"object": "list", "data": models}), media_type=JSON)


@router.get(
    "/v1/models/{name:path}",
    dependencies=_KNOWN,
    response_model=Model,
    responses=answers(Model, "One served name.", 401, 404),
)
async def get_model(request: Request, name: str) -> Response:
    """One served name."""
    models = {model.id: model for model in service_of(request.app).models}
    if name not in models:
        raise UnknownModelError(name, tuple(models))
    return Response(to_json(models[name].model_dump()), media_type=JSON)


@router.get("/live", response_model=Health)
async def live() -> Response:
    """The process answers. True while a model is loading or a worker is started again."""
    return Response(to_json({"status": "ok"}), media_type=JSON)


@router.get("/health", response_model=Health, responses={503: {"model": Health}})
@router.get("/ping", response_model=Health, responses={503: {"model": Health}})
@router.get("/ready", response_model=Health, responses={503: {"model": Health}})
async def ready(request: Request) -> Response:
    """Requests are welcome: a worker has its model loaded and the service is not draining."""
    service = service_of(request.app)
    status = "draining" if service.draining else "ok" if service.engine.ready else "not ready"
    code = 200 if status == "ok" else 503
    return Response(to_json({"status": status}), code, media_type=JSON)


@router.get(
    "/metrics",
    response_class=Response,
    responses=refused(401),
    openapi_extra={"security": [{"key": []}]},
)
async def metrics(request: Request) -> Response:
    """All series in Prometheus' text format."""
    service = service_of(request.app)
    if not service.settings.metrics_open:
        identify(request)
    return Response(service.metrics.exposition(), media_type="text/plain; version=0.0.4")
