"""Response headers that say what of a request was ignored, cut or replaced."""

from collections.abc import Sequence

from app.api.request_models import RequestBody

_MAX_VALUES = 20
_MAX_CHARACTERS = 64


def headers_of(request: RequestBody, truncated: Sequence[int] = ()) -> dict[str, str]:
    """Headers that name ignored fields and inputs that were cut, and count the lone surrogates
    that were replaced by U+FFFD; each only where there are any."""
    lists = {"x-ignored-fields": request.ignored_fields, "x-truncated-inputs": truncated}
    headers = {name: _joined(values) for name, values in lists.items() if values}
    if request.replaced_surrogates:
        headers["x-replaced-surrogates"] = str(request.replaced_surrogates)
    return headers


def _joined(values: Sequence[object]) -> str:
    """Values as a header: printable ASCII only, since a caller chose some of them."""
    shown = [ascii(value).strip("'\"")[:_MAX_CHARACTERS] for value in values[:_MAX_VALUES]]
    more = len(values) - _MAX_VALUES
    return ", ".join(shown) + (f", and {more} more" if more > 0 else "")
