"""Tokenising: parts of texts -> parts of rows for the encoder, on CPU actors.

A part stays one row of the dataset; what the encoder reads is laid end to end in its lists.
"""

import os
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from model import documents
from model.arguments import checked_chunking
from model.config import EncoderConfig, read_config
from model.corpus.errors import CorpusError
from model.corpus.options import ChunkOptions, CorpusOptions, ModelOptions
from model.corpus.reading import FAILED, PART, failure
from model.documents import DocumentOptions
from model.fingerprint import digest_of_readers
from model.hub import locate
from model.rows import Row
from model.tasks import Task, Tasks
from model.tokenizer import RowOptions, Tokenizer
from model.vector_table import fields_of
from model.windows import SpanParts

# The encoder's rows, and how their spans become vectors: joined by `joined_*` if documents took
# several windows, of which those at `kept` are written, each with its `outputs`.
_INTS = {
    **{name: pa.list_(pa.int32()) for name in ("token_ids", "row_tokens", "spans", "row_spans")},
    **{name: pa.list_(pa.int64()) for name in ("joined_span", "joined_tokens", "kept")},
}
Ints = npt.NDArray[np.signedinteger[Any]]


def schema_of(chunks: ChunkOptions | None) -> Any:
    """The columns of a part: those of its place, its failures, its tokens, and what is read."""
    outputs = pa.list_(pa.struct([("row", pa.int64()), *output_fields(chunks).items()]))
    return pa.schema(
        [
            *PART.items(),
            *FAILED.items(),
            ("tokens", pa.int64()),
            ("outputs", outputs),
            *_INTS.items(),
        ]
    )


def output_fields(chunks: ChunkOptions | None) -> dict[str, Any]:
    """The columns of the output beside the vectors."""
    return fields_of(chunked=chunks is not None, text=chunks is not None and chunks.text)


def document_options(chunks: ChunkOptions, config: EncoderConfig) -> DocumentOptions:
    """
    Raises:
        ValueError: a size is out of range.
    """
    sizes = chunks.max_tokens, chunks.min_tokens, chunks.overlap
    return DocumentOptions(checked_chunking(chunks.by, sizes, config), document_vector=False)


class TokenizeParts:
    """Tokenises parts, for `map_batches` with Arrow tables of one row. It refuses a checkpoint
    whose `digest_of_readers` is not `readers`: EmbedParts checks its own node's, and would take
    ids of another tokenizer for those of its own."""

    def __init__(self, model: ModelOptions, options: CorpusOptions, readers: str) -> None:
        # Ray starts as many of these as it takes; the library would take every core for each.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        folder = locate(model.model, model.revision)
        self._config = read_config(folder)
        self._tokenizer = Tokenizer(folder, self._config)
        if digest_of_readers(folder) != readers:
            raise CorpusError(
                f"{folder} on this node has another tokenizer.json or config.json than where the "
                "command runs: put one checkpoint onto all nodes."
            )
        self._task: Task = Tasks(self._config).by_argument(options.task)
        self._options = options
        self._schema = schema_of(options.chunks)

    def __call__(self, table: Any) -> Any:
        (part,) = table.to_pylist()
        ids, rows, texts = part.pop("ids"), part.pop("rows"), part.pop("texts")
        tokenized = self._documents if self._options.chunks else self._texts
        found = tokenized(ids, rows, texts)
        found["failed"] = part.pop("failed") + found["failed"]
        return pa.Table.from_pydict(
            {name: [value] for name, value in (part | found).items()}, schema=self._schema
        )

    def _texts(self, ids: list[str], numbers: list[int], texts: list[str]) -> dict[str, Any]:
        """Each text is a row; one over the limit is cut, or left out."""
        limit, failed, kept = self._tokenizer.max_tokens, [], []
        counted = self._tokenizer.rows(texts, self._task, RowOptions(counting=True))
        rows = [*counted.rows]
        for index, tokens in enumerate(counted.input_tokens):
            if tokens > limit and not self._options.truncate:
                sentence = f"it has {tokens} tokens; this model reads at most {limit}."
                failed.append(failure(numbers[index], ids[index], sentence))
                continue
            if tokens > limit:
                cut = RowOptions(truncate=True)
                (rows[index],) = self._tokenizer.rows([texts[index]], self._task, cut).rows
            kept.append(index)
        read = [rows[index] for index in kept]
        outputs = [{"row": numbers[index], "id": ids[index]} for index in kept]
        return _laid_out(read, None, np.arange(len(read)), outputs) | {
            "failed": failed,
            "tokens": sum(map(len, read)),
        }

    def _documents(self, ids: list[str], numbers: list[int], texts: list[str]) -> dict[str, Any]:
        """Each text is a row, or several windows of it, and each of its chunks an output."""
        assert self._options.chunks is not None, "documents are cut"
        options = document_options(self._options.chunks, self._config)
        tokenized = documents.tokenize(texts, self._task, options, self._tokenizer)
        outputs: list[dict[str, Any]] = []
        kept: list[int] = []
        failed, vector = [], 0
        for index, document in enumerate(tokenized.documents):
            name = {"row": numbers[index], "id": ids[index]}
            for chunk, (start, end) in enumerate(document.chunks.characters.tolist()):
                place = {"chunk": chunk, "start": start, "end": end}
                outputs.append({**name, **place, "text": document.text[start:end]})
            kept += range(vector, vector + len(document.chunks))
            vector += len(document.chunks) + tokenized.document_vectors
            if not len(document.chunks):
                failed.append(failure(numbers[index], ids[index], "it is blank: it has no chunk."))
        return _laid_out(tokenized.rows, tokenized.parts, np.array(kept, np.int64), outputs) | {
            "failed": failed,
            "tokens": sum(map(len, tokenized.rows)),
        }


def _laid_out(
    rows: Any, parts: SpanParts | None, kept: Ints, outputs: list[dict[str, Any]]
) -> dict[str, Any]:
    empty = np.empty(0, np.int32)
    return {
        "token_ids": np.concatenate([empty, *(row.token_ids for row in rows)]),
        "row_tokens": np.array([*map(len, rows)], np.int32),
        "spans": np.concatenate([empty, *(row.spans.reshape(-1) for row in rows)]),
        "row_spans": np.array([len(row.spans) for row in rows], np.int32),
        "joined_span": empty if parts is None else parts.span,
        "joined_tokens": empty if parts is None else parts.tokens,
        "kept": kept,
        "outputs": outputs,
    }


def rows_of(part: Any, adapter: int | None) -> list[Row]:
    """The encoder's rows of a part, an Arrow table of one row."""
    counts = _ints(part, "row_tokens"), _ints(part, "row_spans")
    ids = np.split(_ints(part, "token_ids"), np.cumsum(counts[0])[:-1])
    spans = np.split(_ints(part, "spans").reshape(-1, 2), np.cumsum(counts[1])[:-1])
    if not len(counts[0]):
        return []
    return [Row(each, adapter, own) for each, own in zip(ids, spans, strict=True)]


def vectors_of(part: Any, embedded: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Vectors of the rows' spans -> those of the part's outputs, in their order."""
    if len(span := _ints(part, "joined_span")):
        embedded = SpanParts(span, _ints(part, "joined_tokens")).joined(embedded)
    outputs: npt.NDArray[np.float32] = embedded[_ints(part, "kept")]
    return outputs


def _ints(part: Any, name: str) -> Any:
    return part.column(name)[0].values.to_numpy()


def check(options: CorpusOptions, config: EncoderConfig) -> Task:
    """The task, if the model can do what is asked.

    Raises:
        CorpusError: an option is out of range, or two do not go together.
    """
    width = config.hidden_size
    if options.dimensions is not None and options.dimensions > width:
        raise CorpusError(f"--dimensions is {options.dimensions}; this model has {width}.")
    if options.chunks is not None and options.truncate:
        raise CorpusError(
            "--truncate does not go with --chunk, which reads each text as a document, whole."
        )
    try:
        if options.chunks is not None:
            document_options(options.chunks, config)
        return Tasks(config).by_argument(options.task)
    except ValueError as error:
        raise CorpusError(str(error)) from None
