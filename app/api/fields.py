"""Fields: a body's names -> the fields they mean.

A field has one name here and is also taken by the names that other APIs and SDKs have for it.
`null` is the same as absent. Names that mean nothing here are ignored, and named in a response
header; but one that looks like a field on which the vectors depend is refused: the vectors would be
others than the caller believes. Errors speak of fields by the names they were sent under.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import Any, Literal, get_args

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from app.api import inputs
from model.quoting import quoted

EmbeddingType = Literal["float", "base64", "binary", "ubinary"]
EMBEDDING_TYPES = get_args(EmbeddingType)

# Field -> its other names, first the one that wins. Two names of one field must agree, but for
# embedding_type: the OpenAI SDKs add encoding_format=base64 to requests that do not ask for it.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "input": ("texts", "content"),
    "task": inputs.TASK_NAMES[1:],
    "dimensions": ("output_dimension", "output_dimensionality"),
    "embedding_type": ("encoding_type", "encoding_format", "embedding_types"),
    "normalized": ("normalize",),
    "truncate": ("truncation",),
}
_MAY_DISAGREE = {"embedding_type"}

# Cohere's, Voyage's and NVIDIA's field for what is the task here, and their words for it.
INPUT_TYPE = "input_type"
_TASK_OF = {
    "query": "retrieval.query",
    "search_query": "retrieval.query",
    "document": "retrieval.passage",
    "search_document": "retrieval.passage",
    "passage": "retrieval.passage",
    "classification": "classification",
    "clustering": "separation",
}

# Fields on which the vectors depend.
_DECIDING = {
    *("task", "dimensions", "late_chunking", "late_chunking_overlap", "embedding_type"),
    *("normalized", "truncate", "chunking", "offsets"),
}
# Other libraries' words for them, too far off to be found by their letters.
_SYNONYMS = {
    **dict.fromkeys(("dim", "dims", "ndims", "truncatedim", "matryoshkadim"), "dimensions"),
    **dict.fromkeys(("embeddingdim", "embeddingdimension", "embeddingsize"), "dimensions"),
    **dict.fromkeys(("embeddingdimensions", "dimensionality", "outputdim"), "dimensions"),
    **dict.fromkeys(("embedtype", "encoding"), "embedding_type"),
    "overlap": "late_chunking_overlap",
    "params": "parameters",
    **dict.fromkeys(("taskid", "tasklabel", "taskname", "adapter"), "task"),
    **dict.fromkeys(("normalizeembeddings", "normalization"), "normalized"),
    **dict.fromkeys(("latechunk", "latechunks"), "late_chunking"),
    **dict.fromkeys(("chunker", "chunk", "chunks", "chunkingstrategy"), "chunking"),
    **dict.fromkeys(("method", "type", "strategy", "mode", "unit", "splitter"), "by"),
    **dict.fromkeys(("size", "chunksize", "maxchunksize", "limit", "maxlength"), "max_tokens"),
    "chunkoverlap": "overlap",
    **dict.fromkeys(("inputs", "text", "sentences", "documents", "prompt", "data"), "input"),
}
# Unknown names that are looked at: comparing takes microseconds, and a body may have a million.
_MOST = 256


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a body says: `fields` by their own names, the names they were `sent` under, and names
    that mean nothing."""

    fields: dict[str, Any]
    sent: dict[str, str]
    ignored: set[str] = field(default_factory=set)

    def renamed(self, error: ValidationError) -> ValidationError:
        """The same complaints about the names and values that were sent."""
        return ValidationError.from_exception_data(
            error.title,
            [self._line(detail) for detail in error.errors(include_url=False)],
        )

    def _line(self, detail: Any) -> InitErrorDetails:
        place, message, value = detail["loc"], detail["msg"], detail["input"]
        own = place[0] if place else ""
        if own in self.sent:
            name, given = self.sent[own], self.fields[own]
            message = name + message.removeprefix(own) if message.startswith(own) else message
            # A single value that was made a list of one has no index.
            place = (name, *(place[1:] if isinstance(given, list) else ()))
        return _line(place, detail["type"], message, value)


def _line(place: tuple[int | str, ...], kind: str, message: str, value: Any) -> InitErrorDetails:
    return InitErrorDetails(type=PydanticCustomError(kind, message), loc=place, input=value)


def refusal(name: str, kind: str, message: str, value: Any = None) -> ValidationError:
    """A complaint about one field, to be raised inside of a validator."""
    return ValidationError.from_exception_data("request", [_line((name,), kind, message, value)])


def without_nulls(body: Any) -> dict[str, Any]:
    """The fields of a body, in which null is absent.

    Raises:
        PydanticCustomError: it is no object.
    """
    if not isinstance(body, dict):
        raise PydanticCustomError("dict_type", "the body must be a JSON object")
    return {name: value for name, value in body.items() if value is not None}


def resolved(body: Any, own: Collection[str]) -> Resolved:
    """What a body says to a request that has these fields.

    Raises:
        PydanticCustomError: it is no object.
        ValidationError: two names of one field differ, or a name looks like a field and is none.
    """
    fields = without_nulls(body)
    known = all_names(own)
    unknown = {name: fields[name] for name in fields if name not in known}
    if taken := INPUT_TYPE in unknown and not any(name in fields for name in inputs.TASK_NAMES):
        unknown.pop(INPUT_TYPE)
    check_near_misses(unknown, _candidates(own, fields))
    found = Resolved(*_by_own_names(fields), set(body) - known)
    if taken:
        found.fields["task"] = _task_of(fields[INPUT_TYPE])
        found.sent["task"] = INPUT_TYPE
        found.ignored.discard(INPUT_TYPE)
    return found


def all_names(own: Collection[str]) -> frozenset[str]:
    """Fields under all their names; other requests' aliases too, which are no mistakes."""
    return frozenset(own).union(*ALIASES.values())


def check_near_misses(unknown: Mapping[str, Any], candidates: Collection[str]) -> None:
    """
    Raises:
        ValidationError: some of these names are so like one of the candidates that it is meant.
    """
    of = frozenset(candidates)
    lines = [
        _line((name,), "unknown_field", f"unknown field; did you mean {meant}?", value)
        for name, value in islice(unknown.items(), _MOST)
        if (meant := near(name, of))
    ]
    if lines:
        raise ValidationError.from_exception_data("request", lines)


def deciding(own: Collection[str]) -> set[str]:
    """Those fields on which the vectors depend, under all their names."""
    return {name for each in _DECIDING & {*own} for name in (each, *ALIASES.get(each, ()))}


def _candidates(own: Collection[str], fields: Mapping[str, Any]) -> set[str]:
    of_input = {"input", *ALIASES["input"]}
    return deciding(own) | (set() if of_input & fields.keys() else of_input)


def near(name: str, candidates: frozenset[str]) -> str | None:
    """The candidate that a name is probably a misspelling of."""
    letters = _letters(name)
    if (synonym := _SYNONYMS.get(letters)) in candidates:
        return synonym
    found = [
        (edits, candidate)
        for candidate, known in _by_letters(candidates)
        if abs(len(letters) - len(known)) <= _most_edits(known)
        and (edits := _edits(letters, known)) <= _most_edits(known)
    ]
    return min(found)[1] if found else None


def _most_edits(known: str) -> int:
    return max(1, len(known) // 4)


@cache
def _by_letters(candidates: frozenset[str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, _letters(name)) for name in sorted(candidates))


def _letters(name: str) -> str:
    """lateChunking, late-chunking and LATE_CHUNKING are the same to a reader."""
    return "".join(filter(str.isalnum, name.casefold()))


def _edits(one: str, other: str) -> int:
    """The least number of letters to change, add, leave out or swap with the next: the optimal
    string alignment distance."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, b in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]


def _by_own_names(fields: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Fields with aliases under the field's own name, and the names they were sent under."""
    sent: dict[str, str] = {}
    for own, others in ALIASES.items():
        said = {name: fields.pop(name) for name in (own, *others) if name in fields}
        values = list(said.values())
        if any(value != values[0] for value in values[1:]):
            _check_disagreement(own, said)
        if said:
            sent[own], fields[own] = next(iter(said.items()))
    return fields, sent


def _check_disagreement(own: str, said: Mapping[str, Any]) -> None:
    """Refuse two values of one field, or a value that would be wrong if it were the only one."""
    if own not in _MAY_DISAGREE:
        names = " and ".join(said)
        sentence = f"{names} are names of one field and must not differ."
        raise refusal(next(iter(said)), "conflict", sentence)
    for name, value in said.items():
        if not all(each in EMBEDDING_TYPES for each in as_list(value)):
            sentence = f"{name} must be of {', '.join(EMBEDDING_TYPES)}."
            raise refusal(name, "literal_error", sentence, value)


def as_list(value: Any) -> list[Any]:
    """A list of a value that is none."""
    return value if isinstance(value, list) else [value]


def _task_of(given: Any) -> str:
    if not isinstance(given, str) or given not in _TASK_OF:
        sentence = f"{INPUT_TYPE} is {quoted(given)}; it is read as a task where it is one of "
        raise refusal(INPUT_TYPE, "enum", sentence + f"{', '.join(_TASK_OF)}.", given)
    return _TASK_OF[given]
