"""Dependencies of routes: check the caller's API key, and charge the request to its limits."""

from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from app.access.callers import KEY_HEADERS
from app.api.context import caller_address, edge_of, owner_in, request_of

# Only for the OpenAPI document and its page; `Callers.key_name` reads the headers.
_BEARER = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="A key that `quintet keys add NAME` made; none is asked for where there are none.",
)
_API_KEY, _X_API_KEY, _GOOGLE_KEY = (
    APIKeyHeader(name=name, auto_error=False, scheme_name=name, description="The same key.")
    for name in KEY_HEADERS
)


def identify(request: Request) -> None:
    """Add the name of the caller's key to the request's context and log line.

    Raises:
        UnauthorisedError: the service has keys, and the request none of them.
    """
    context, callers = request_of(request), edge_of(request.app).callers
    owner = owner_in(request.scope)
    if owner is None:
        context.key_name = callers.key_name(request.headers)
    else:
        context.key_name = callers.known_name(owner)
    if context.key_name:
        context.log_line.fields["key"] = context.key_name


async def identified(
    request: Request,
    _bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)] = None,
    _api_key: Annotated[str | None, Security(_API_KEY)] = None,
    _x_api_key: Annotated[str | None, Security(_X_API_KEY)] = None,
    _google_key: Annotated[str | None, Security(_GOOGLE_KEY)] = None,
) -> None:
    """For routes that need a key where the service has keys; raises what `identify` does."""
    identify(request)


async def admitted(request: Request) -> None:
    """For routes with rate limits, behind `identified`: charge one request.

    Raises:
        RequestsPerMinuteError: it is over the limit.
    """
    context, callers = request_of(request), edge_of(request.app).callers
    address = caller_address(request)
    context.budget = callers.budget(context.key_name, address, context.response_headers)
    await context.budget.admit()


# Dependencies of routes, in order.
KEY = [Depends(identified)]
KEY_AND_LIMITS = [*KEY, Depends(admitted)]
