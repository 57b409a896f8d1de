"""Which addresses are this machine's, which the environment's proxies reach, and their errors."""

import ipaddress
import os
import sys
from urllib.parse import urlsplit

_VARIABLES = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY")


def is_loopback(host: str) -> bool:
    """Whether that name or address is this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def behind_proxies(url: str) -> bool:
    """Whether the environment's proxy may be used for `url`: never for this machine itself, which a
    proxy cannot reach, even without a NO_PROXY."""
    try:
        return not is_loopback(urlsplit(url).hostname or "")
    except ValueError:  # the HTTP client refuses the address
        return True


def proxy_refusal(error: Exception) -> str:
    """The message for an HTTP client's error about a proxy's address: an ImportError if SOCKS lacks
    its package, a ValueError for another unknown scheme."""
    named = [
        f"{name}={value.rpartition('@')[2]}"  # without a name and password
        for variable in _VARIABLES
        for name in (variable, variable.lower())
        if (value := os.environ.get(name))
    ]
    where = f"the proxy of the environment cannot be used ({', '.join(named)})"
    if isinstance(error, ImportError):
        pip = f"{sys.executable} -m pip install socksio"
        return f"{where}: for SOCKS Python needs the package socksio. {pip}, or unset the variable."
    return f"{where}: {error}. Mend or unset the variable."
