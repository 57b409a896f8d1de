"""Direct routes: dependencies first, then the endpoint, with and without FastAPI's own layers."""

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.routing import APIRoute

from app.api.direct_route import DirectRoute, DirectRoutes
from app.api.routes import router as all_routes

calls: list[str] = []


async def first(request: Request) -> None:
    calls.append("first")


async def second(request: Request) -> None:
    calls.append("second")


router = APIRouter(route_class=DirectRoute)


@router.post("/plain", dependencies=[Depends(first), Depends(second)])
async def plain(request: Request) -> Response:
    return Response(await request.body())


@router.post("/named/{name:path}/end", dependencies=[Depends(first), Depends(second)])
async def named(request: Request, name: str) -> Response:
    return Response(name)


@pytest.fixture(params=[False, True], ids=["by FastAPI", "directly"])
def app(request: pytest.FixtureRequest) -> FastAPI:
    calls.clear()
    made = FastAPI()
    made.include_router(router)
    if request.param:
        made.add_middleware(DirectRoutes, routes=router.routes)
    return made


def asked(app: FastAPI, method: str, path: str) -> httpx.Response:
    async def ask() -> Any:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, content=b"body")

    return asyncio.run(ask())


def test_dependencies_are_called_in_order_and_then_the_endpoint(app: FastAPI) -> None:
    assert asked(app, "POST", "/plain").content == b"body"
    assert calls == ["first", "second"]


def test_an_endpoint_gets_the_parameters_of_its_path(app: FastAPI) -> None:
    assert asked(app, "POST", "/named/a/b/end").content == b"a/b"
    assert calls == ["first", "second"]


def test_other_methods_and_paths_are_refused_as_ever(app: FastAPI) -> None:
    assert asked(app, "GET", "/plain").status_code == 405
    assert asked(app, "POST", "/plainer").status_code == 404
    assert calls == []


def test_all_routes_that_take_texts_are_direct() -> None:
    posts = [
        route
        for route in all_routes.routes
        if isinstance(route, APIRoute) and "POST" in (route.methods or ())
    ]
    assert len(posts) >= 5
    assert all(isinstance(route, DirectRoute) for route in posts)
