"""Answers POST /v1/embeddings with raw bytes, where `Accept` prefers application/octet-stream.

The body is nothing but little-endian float32, vector after vector; headers say how many of which
width, and what was charged. Errors are JSON as ever.
"""

from dataclasses import replace

from app.api.embeddings import EmbeddedInputs, EmbeddingService, Result, finished
from app.api.request_models import EmbeddingsRequest
from app.api.spaces import Call
from app.api.validation import invalid_field

OCTETS = "application/octet-stream"
SHAPE = "x-embedding-shape"
TOKENS = "x-total-tokens"
_JSON = "application/json"
# Written as float32 in JSON, too; base64 is what OpenAI's SDKs ask for unasked.
_FLOATS = {"float", "base64"}


def wanted(accept: str) -> bool:
    """Whether the header Accept names raw bytes, and not JSON before them."""
    if OCTETS not in (accept := accept.lower()):
        return False
    quality = {OCTETS: 0.0, _JSON: 0.0}
    for each in accept.split(","):
        name, *parameters = (part.strip() for part in each.split(";"))
        if name in quality:
            quality[name] = next(map(_quality, parameters), 1.0)
    return quality[OCTETS] > quality[_JSON]


def _quality(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    try:
        return float(value) if name == "q" else 1.0
    except ValueError:
        return 1.0


async def answer(
    embeddings: EmbeddingService, body: bytes, call: Call, model: str | None = None
) -> Result:
    """One request, from its body to that of the response; raises what `embeddings.answer` does."""
    request = embeddings.parsed(body, model)
    _check_type(request)
    task, space, tokenized, pooled = await embeddings.pooled(request, call)
    found = finished(request, pooled).astype("<f4", copy=False)
    result = EmbeddedInputs(request, task, space, tokenized, []).result({})
    rows, width = found.shape
    headers = {SHAPE: f"{rows}, {width}", TOKENS: str(tokenized.tokens)}
    return replace(
        result, body=found.tobytes(), headers=result.headers | headers, media_type=OCTETS
    )


def _check_type(request: EmbeddingsRequest) -> None:
    """
    Raises:
        InvalidFieldsError: the body asks for other numbers than the header.
    """
    if others := sorted({*request.embedding_type} - _FLOATS):
        name = request.sent_as("embedding_type")
        sentence = f"{name} asks for {', '.join(others)}; with Accept: {OCTETS} the answer is of "
        raise invalid_field(
            name, f"{sentence}float32 alone. Leave out one of them.", "enum", others
        )
