"""Which dialects there are, and how one is added to the service."""

from collections.abc import Iterable, Sequence

from app.api.context import ErrorForm, ServiceContext, own_error
from app.dialects import cohere, google, ollama, tei, voyage
from app.dialects.dialect import Dialect

# Voyage's has no routes of its own.
_BY_NAME = {
    "cohere": cohere.DIALECT,
    "google": google.DIALECT,
    "ollama": ollama.DIALECT,
    "tei": tei.DIALECT,
}


def add_dialects(names: Iterable[str], service: ServiceContext) -> Sequence[Dialect]:
    """The dialects of these names that have routes; the service then knows all of them."""
    served = [_BY_NAME[name] for name in names if name in _BY_NAME]
    service.error_form_of = lambda method, path: _error_form(served, f"{method} {path}")
    if "tei" in names:
        service.more_info = tei.more_info
    if "voyage" in names:
        service.embeddings.kind_of = voyage.kind_of
    return served


def _error_form(served: Iterable[Dialect], address: str) -> ErrorForm:
    found = (each.error_form for each in served if each.addresses.fullmatch(address))
    return next(found, own_error)
