"""Voyage's requests on POST /v1/embeddings, whose answer and errors are ours already.

Judges: the package voyageai (client.py, api_resources/embedding.py, api_requestor.py), and
https://docs.voyageai.com/reference/embeddings-api. `input_type` is read as a task for all callers
(field_names.py); this adds `output_dtype`, and cuts texts at their ends unless `truncation` is
false. Lists are written for whole numbers, also where its client asks for base64, as it allows.
Invalid fields are 422 as on this route ever, which its client takes too.
"""

from typing import Any, Literal, get_args

from app.api.field_names import INPUT_TYPE, refusal
from app.api.inputs import TASK_NAMES
from app.api.request_models import EmbeddingsRequest
from model.quoting import quoted

_DTYPE = "output_dtype"
# Without uint8: from 0 up, numbers would say neither where zero is nor how large a step is.
Dtype = Literal["float", "binary", "ubinary", "int8"]
_INPUT_TYPES = ("query", "document")
_WORDS = tuple(f'"{name}"'.encode() for name in (INPUT_TYPE, _DTYPE))


class VoyageRequest(EmbeddingsRequest):
    """A body that may be Voyage's."""

    @classmethod
    def translated(cls, body: Any) -> Any:
        """The body in the words of this API.

        Raises:
            ValidationError: `output_dtype` has no counterpart.
        """
        if not isinstance(body, dict):
            return body
        fields = {name: value for name, value in body.items() if name != _DTYPE}
        # Beside a task, `input_type` means nothing.
        is_a_task = not any(body.get(name) is not None for name in TASK_NAMES)
        is_voyages = _DTYPE in body or (is_a_task and body.get(INPUT_TYPE) in _INPUT_TYPES)
        if is_voyages and fields.get("truncate") is None and fields.get("truncation") is None:
            fields["truncation"] = True
        if fields.get(INPUT_TYPE, "") is None:
            del fields[INPUT_TYPE]
        dtype = body.get(_DTYPE)
        if dtype not in (None, *get_args(Dtype)):
            sentence = f"{_DTYPE} is {quoted(dtype)}; here it is {', '.join(get_args(Dtype))}."
            raise refusal(_DTYPE, "enum", sentence, dtype)
        if dtype not in (None, "float"):
            fields.pop("encoding_format", None)
            fields["embedding_type"] = dtype
        return fields


def kind_of(body: bytes) -> type[EmbeddingsRequest]:
    """What a body is read as: it is Voyage's only where it has one of its words as a name."""
    return VoyageRequest if any(word in body for word in _WORDS) else EmbeddingsRequest
