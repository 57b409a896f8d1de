"""Proxies: for which addresses the environment's proxies (HTTP_PROXY, ALL_PROXY, ...) count."""

import ipaddress
import os
import sys
from urllib.parse import urlsplit

_VARIABLES = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY")


def is_loopback(host: str) -> bool:
    """Whether only this machine itself is reached by that name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def behind_proxies(url: str) -> bool:
    """Whether a proxy may be asked for `url`: not for this machine itself, which no proxy reaches
    and for which few write a NO_PROXY."""
    try:
        return not is_loopback(urlsplit(url).hostname or "")
    except ValueError:  # whoever uses it says that it is no address
        return True


def proxy_refusal(error: Exception) -> str:
    """What to do about an HTTP client that could not be made because of a proxy's address: SOCKS
    is an ImportError where the package for it is not installed, other schemes are a ValueError."""
    named = [
        f"{name}={value.rpartition('@')[2]}"  # without a name and password
        for variable in _VARIABLES
        for name in (variable, variable.lower())
        if (value := os.environ.get(name))
    ]
    where = f"the proxy of the environment cannot be used ({', '.join(named)})"
    if isinstance(error, ImportError):
        how = f"{sys.executable} -m pip install socksio"
        return f"{where}: for SOCKS Python needs the package socksio. {how}, or unset the variable."
    return f"{where}: {error}. Mend or unset the variable."
