"""Notes: response headers that say what of a request was not taken as it was sent."""

from collections.abc import Iterable, Sequence

from app.api.schemas import Body

_NAMES = 20
_CHARACTERS = 64


def notes(request: Body, truncated: Sequence[int] = ()) -> dict[str, str]:
    """Headers that name fields which mean nothing here and inputs that were cut, and count the
    halves of pairs that were replaced by U+FFFD."""
    named = {"x-ignored-fields": request.ignored_fields, "x-truncated-inputs": truncated}
    said = {name: _listed(values) for name, values in named.items() if values}
    if request.replaced_surrogates:
        said["x-replaced-surrogates"] = str(request.replaced_surrogates)
    return said


def _listed(values: Sequence[object]) -> str:
    """Values as a header: printable ASCII only, since a caller chose some of them."""
    shown: Iterable[str] = (ascii(value).strip("'\"")[:_CHARACTERS] for value in values[:_NAMES])
    more = len(values) - _NAMES
    return ", ".join(shown) + (f", and {more} more" if more > 0 else "")
