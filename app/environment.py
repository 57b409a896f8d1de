"""Environment: variables that look like settings and are none."""

import difflib
import re
from collections.abc import Collection, Mapping

# What Kubernetes puts into the environment of each container for a Service: EMBED_SERVICE_HOST,
# EMBED_PORT=tcp://10.0.0.1:8080, EMBED_PORT_8080_TCP_ADDR, ...
_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://")
_LINK_NAME = re.compile(
    r"_SERVICE_HOST$|_SERVICE_PORT(_\w+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$"
)


# Settings of earlier versions, with what to do instead.
_REMOVED = {"EMBED_MAX_CONCURRENT_TOKENS": "It was removed; take EMBED_MAX_TOKENS_PER_MINUTE."}


def stray(environment: Mapping[str, str], prefix: str, known: Collection[str]) -> str | None:
    """What is wrong with the first variable with `prefix` that is no setting; None if all are."""
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
            own = {each.removeprefix(prefix): each for each in known}
            close = difflib.get_close_matches(name.removeprefix(prefix), own, n=1)
            hint = f"Did you mean {own[close[0]]}?" if close else ""
            return f"unknown setting {name}. {_REMOVED.get(name, hint)}".rstrip()
    return None
