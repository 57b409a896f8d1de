"""The values of environment variables, and sentences about variables that are wrong."""

import difflib
import ipaddress
import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ValidationError
from pydantic_core import ErrorDetails

from app.value_errors import cause_of

# What Kubernetes puts into the environment of each container for a Service: EMBED_SERVICE_HOST,
# EMBED_PORT=tcp://10.0.0.1:8080, EMBED_PORT_8080_TCP_ADDR, ...
_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://")
_LINK_NAME = re.compile(
    r"_SERVICE_HOST$|_SERVICE_PORT(_\w+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$"
)
# Settings that were removed, with what to take instead.
_REMOVED = {"EMBED_MAX_CONCURRENT_TOKENS": "It was removed; take EMBED_MAX_TOKENS_PER_MINUTE."}
# Other APIs that the service can speak; app/dialects has a file for each.
DIALECTS = ("cohere", "google", "ollama", "tei", "voyage")
_NO_DIALECT = ("none",)
_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#@*\s\x80-\U0010ffff]+")
_DEFAULT_PORT = re.compile(r"(?<=^http://)(.+):80$|(?<=^https://)(.+):443$")
_HOST_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?(:\d*)?")
_IPV6 = re.compile(r"\[([0-9A-Fa-f:.]+)\](:\d*)?|([0-9A-Fa-f:.]+)")


def _split(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    if not names:
        raise ValueError("name at least one, or leave the variable out")
    return names


def _devices(value: tuple[str, ...]) -> tuple[str, ...]:
    if "auto" in value and len(value) > 1:
        raise ValueError("auto stands alone; for several workers name each device: cuda:0,cuda:1")
    return value


def _dialects(value: tuple[str, ...]) -> tuple[str, ...]:
    if value == _NO_DIALECT:
        return ()
    if unknown := [name for name in value if name not in DIALECTS]:
        raise ValueError(f"{unknown[0]} is unknown; there are {', '.join(DIALECTS)}, and none")
    return value


def _origins(value: tuple[str, ...]) -> tuple[str, ...]:
    """The origins as browsers send them: in lower case, without the port of the scheme."""
    for origin in value:
        if origin not in ("*", "null") and not _ORIGIN.fullmatch(origin):
            raise ValueError(
                f"{origin} is no origin, which is a scheme and a host, as https://app.example"
            )
    return tuple(_DEFAULT_PORT.sub(r"\1\2", origin.lower()) for origin in value)


def _hosts(value: tuple[str, ...]) -> tuple[str, ...]:
    for host in value:
        if host != "*" and not _HOST_NAME.fullmatch(host) and not _is_ipv6(host):
            raise ValueError(
                f"{host} is no host, which is a whole name or an address, as quintet.example, "
                "10.0.0.7 or ::1; * alone is all"
            )
    return value


def _is_ipv6(host: str) -> bool:
    match = _IPV6.fullmatch(host)
    try:
        return match is not None and bool(ipaddress.IPv6Address(match[1] or match[3]))
    except ValueError:
        return False


def _no_url(value: str) -> str:
    if "/" in value or value.count(":") == 1:
        raise ValueError("must be an address or a name alone, such as 127.0.0.1, without port")
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
Devices = Annotated[Names, AfterValidator(_devices)]
Dialects = Annotated[Names, AfterValidator(_dialects)]
Origins = Annotated[Names, AfterValidator(_origins)]
Hosts = Annotated[Names, AfterValidator(_hosts)]
Host = Annotated[str, AfterValidator(_no_url)]


def unknown_variable(
    environment: Mapping[str, str], prefix: str, known: Collection[str]
) -> str | None:
    """A sentence about the first variable with `prefix` that is no setting; None if all are."""
    for name, value in environment.items():
        if not name.startswith(prefix):
            continue
        if _LINK_VALUE.match(value) or (name not in known and _LINK_NAME.search(name)):
            return (
                f"{name}={value} is not a setting but a link that Kubernetes makes for a Service "
                "whose name begins with `embed`. Write `enableServiceLinks: false` into the pod's "
                "spec, or give the Service another name."
            )
        if name not in known:
            settings = {each.removeprefix(prefix): each for each in known}
            close = difflib.get_close_matches(name.removeprefix(prefix), settings, n=1)
            hint = f"Did you mean {settings[close[0]]}?" if close else ""
            return f"unknown setting {name}. {_REMOVED.get(name, hint)}".rstrip()
    return None


def invalid_values(error: ValidationError, prefix: str) -> str:
    """A sentence about each variable whose value is invalid."""
    return " ".join(_sentence(each, prefix) for each in error.errors())


def _sentence(error: ErrorDetails, prefix: str) -> str:
    name = prefix + str(error["loc"][0]).upper()
    return f"{name}: {cause_of(error)}, not {error['input']!r}."
