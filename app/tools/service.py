"""Which running service a tool asks: its address and its API key."""

import os
from urllib.parse import urlsplit

from app.tools.tool_errors import ToolError

KEY_VARIABLE = "QUINTET_API_KEY"


def base_url(url: str) -> str:
    """The address without the /v1 or the whole path that clients have in it.

    Raises:
        ToolError: it is not an HTTP address.
    """
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    # urlsplit passes over line ends, which a file with those of Windows leaves in a variable.
    if not (valid and url.isprintable() and " " not in url):
        shown = url if url.isprintable() else repr(url)
        raise ToolError(f"--url must be like http://host:port, not {shown}.")
    return url.rstrip("/").removesuffix("/embeddings").removesuffix("/v1")


def api_key() -> str | None:
    """The key of the environment, if there is one.

    Raises:
        ToolError: it cannot be sent in a header.
    """
    key = os.environ.get(KEY_VARIABLE)
    if key and not (key.isascii() and key.isprintable()):
        raise ToolError(f"{KEY_VARIABLE} must be printable ASCII.")
    return key
