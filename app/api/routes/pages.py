"""Pages for people with a browser: the playground, and the reference of the API."""

from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse

from app.api import reference_page
from app.api.context import service_of

PLAYGROUND = Path(__file__).parents[2] / "playground"
# The playground loads what stands beside it, asks this service, and nothing else.
_PLAYGROUND_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# The reference is text and a style.
_REFERENCE_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)

router = APIRouter(include_in_schema=False)


@router.get("/")
async def playground() -> Response:
    """The page to explore the service with."""
    headers = {"content-security-policy": _PLAYGROUND_POLICY}
    return FileResponse(PLAYGROUND / "index.html", headers=headers)


@router.get("/docs")
async def reference(request: Request) -> Response:
    """The OpenAPI document as a page. It asks for no key, so it is made once."""
    service = service_of(request.app)
    if service.reference_page is None:
        service.reference_page = reference_page.page(request.app.openapi())
    headers = {"content-security-policy": _REFERENCE_POLICY}
    return HTMLResponse(service.reference_page, headers=headers)


@router.get("/docs/")
async def reference_with_a_slash() -> Response:
    """To where the page's relative links lead to something, wherever a proxy has put it."""
    return RedirectResponse("../docs")
