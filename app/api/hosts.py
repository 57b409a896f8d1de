"""Checks of Host and Origin: under which names the service answers, and whose pages may use it.

Without keys, a service on a loopback address is for whoever is on that machine; but a browser there
runs anybody's pages.

1. DNS rebinding: a page whose name was made to resolve to 127.0.0.1 has the service's origin to the
   browser. Foreign Host headers, which are no name of the service, are refused.
2. A page may send what a form could send (text/plain) without asking first, and would keep the
   machine busy though it reads no answer: a POST out of a page of another origin is refused.

With keys, or where others can reach the port, a page can do no more than its author could directly;
there only the names in EMBED_ALLOWED_HOSTS count, if any are set. Probes are answered always.
"""

import ipaddress
import re

from starlette.requests import Request

from app.errors import HostError, OriginError
from app.settings import Settings
from app.telemetry.metrics import Metrics
from model.proxies import is_loopback

ANY = "*"
PROBES = {"/live", "/ready", "/health", "/ping"}
_SAFE = {"GET", "HEAD", "OPTIONS"}
_HOST = re.compile(r"\[(?P<v6>[0-9a-f:.]+)\](?::\d*)?|(?P<name>[^\s:@/\[\]]+)(?::\d*)?")


class HostPolicy:
    """Which hosts and origins may send requests; the top of the file says why."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._local_without_keys = settings.keys_file is None and is_loopback(settings.host)
        hosts = (*settings.allowed_hosts, settings.host)
        self._names = {_name(host) or _name(f"[{host}]") for host in hosts} - {""}
        limited = self._local_without_keys or bool(settings.allowed_hosts)
        self._any_host = not limited or ANY in settings.allowed_hosts
        self._origins = settings.cors_origins
        self._metrics = metrics

    def check(self, request: Request) -> None:
        """
        Raises:
            HostError, OriginError: see the top of the file.
        """
        if request.scope["path"] in PROBES:
            return
        try:
            if not self._any_host:
                self._check_host(request)
            if self._local_without_keys and request.method not in _SAFE:
                self._check_origin(request)
        except (HostError, OriginError) as error:
            self._metrics.refused.labels(error.reason).inc()
            raise

    def _check_host(self, request: Request) -> None:
        # HTTP/1.0 needs no Host; a browser always sends one.
        for host in filter(None, request.headers.getlist("host")):
            name = _name(host)
            if not (name in self._names or _is_loopback_name(name)):
                raise HostError(host)

    def _check_origin(self, request: Request) -> None:
        origin, site = (request.headers.get(name) for name in ("origin", "sec-fetch-site"))
        if ANY in self._origins or origin in self._origins:
            return
        # A page can set neither of these headers. Browsers send the second to https and localhost.
        same = site in ("same-origin", "none") if site else self._is_same(origin, request)
        if not same:
            raise OriginError(origin or "another origin")

    def _is_same(self, origin: str | None, request: Request) -> bool:
        if origin is None:  # not out of a page
            return True
        authority = origin.partition("://")[2]
        hosts = [*request.headers.getlist("host"), *request.headers.getlist("x-forwarded-host")]
        return authority in hosts or _name(authority) in self._names


def _name(host: str) -> str:
    """The name in a Host header, without a port, an address in its one form; empty where it is no
    name."""
    match = _HOST.fullmatch(host.lower())
    if match is None:
        return ""
    if match["name"]:
        return match["name"].rstrip(".")
    try:
        return ipaddress.IPv6Address(match["v6"]).compressed
    except ValueError:
        return ""


def _is_loopback_name(name: str) -> bool:
    """Whether a name can lead nowhere but to the machine itself."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
