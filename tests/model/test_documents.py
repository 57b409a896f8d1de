"""Documents in Python: their chunks' vectors against transformers and PEFT, against late chunking
of the pieces, and in windows."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers

from model import documents, embedder
from model.chunking import Chunking
from model.documents import (
    ChunksTooLargeError,
    ChunkTooLongError,
    DocumentOptions,
    SpanError,
    TooManyChunksError,
)
from model.embedder import Embedder
from model.rows import Row
from model.tokenizer import RowOptions, TooManyTokensError
from tests.checkpoints import MINI, TASKS
from tests.model.test_chunking import PARTS
from tests.model.test_windows import reference as in_windows
from tests.reference import Reference

JUDGE = tokenizers.Tokenizer.from_file(str(MINI / "tokenizer.json"))
# What the normaliser deletes, and white space, where a text begins or goes on after `</s>`. The
# judge, too, gets offsets from tokenizers, which are one too small after it (test_offsets.py).
DELETED_AT_START = re.compile(r"(?:\A|(?<=</s>))[\x01-\x20\x7f]+")
WORDS = [*PARTS, "house ", "tree. ", "Wasser? ", "fin. "]


@pytest.fixture(scope="module")
def small(original: Path) -> Embedder:
    return embedder.load(original, "cpu", "float32")


@pytest.fixture(scope="module")
def judge(hf: Path) -> Reference:
    return Reference(hf)


def texts_of(rng: np.random.Generator, count: int) -> list[str]:
    return ["".join(rng.choice(WORDS, int(rng.integers(1, 60)))) for _ in range(count)]


def random_reading(rng: np.random.Generator) -> DocumentOptions:
    by = str(rng.choice(["sentences", "markdown", "tokens"]))
    most = int(rng.integers(4, 40))
    return DocumentOptions(Chunking(by, most, int(rng.integers(0, 3)), most // 4))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [None, *TASKS])
def test_the_reference_agrees_on_every_chunk_and_on_the_whole(
    small: Embedder, judge: Reference, rng: np.random.Generator, name: str | None
) -> None:
    """The judge tokenises instruction and text in one, and finds a chunk's tokens by their first
    characters."""
    task = small.tasks.by_name(name)
    texts = [*texts_of(rng, 3), ""]
    read = documents.tokenize(texts, task, random_reading(rng), small.tokenizer)
    assert read.tokens == sum(len(JUDGE.encode(text).ids) for text in texts)
    for document, (chunks, own) in zip(
        read.documents, read.vectors(small.embed(read.rows)), strict=True
    ):
        text = DELETED_AT_START.sub(lambda found: " " * len(found[0]), document.text)
        encoding = JUDGE.encode(task.instruction + text)
        hidden = judge.hidden(Row.single_span(np.array(encoding.ids, np.int32), task.adapter))
        np.testing.assert_allclose(own[0], hidden.mean(axis=0), atol=1e-5)
        front = len(task.instruction)
        starts = np.array([start for start, _ in encoding.offsets[1:-1]]) - front
        inside = [at + 1 for at, start in enumerate(starts) if start >= 0]
        for (start, end), vector in zip(document.chunks.characters, chunks, strict=True):
            pooled = [at for at in inside if start <= starts[at - 1] < end]
            if pooled[0] == inside[0]:
                pooled = [*range(inside[0]), *pooled]
            if pooled[-1] == inside[-1]:
                pooled = [*pooled, len(hidden) - 1]
            np.testing.assert_allclose(vector, hidden[pooled].mean(axis=0), atol=1e-5)


def test_chunks_at_white_space_have_the_vectors_of_late_chunked_inputs(
    small: Embedder, rng: np.random.Generator
) -> None:
    task = small.tasks.by_name("retrieval.passage")
    found = [text.strip() for text in texts_of(rng, 6)]
    pieces = [text if len(small.tokenizer.ids([text])[0]) else "x" for text in found]
    ends = np.cumsum([len(piece) + 1 for piece in pieces])
    starts = ends - [len(piece) + 1 for piece in pieces]
    reading = DocumentOptions(Chunking("spans"), spans=[np.stack([starts, ends - 1], axis=1)])
    read = documents.tokenize([" ".join(pieces)], task, reading, small.tokenizer)
    ((chunks, _),) = read.vectors(small.embed(read.rows))
    inputs = small.tokenizer.rows(pieces, task, RowOptions(late_chunking=True))
    np.testing.assert_array_equal(read.rows[0].token_ids, inputs.rows[0].token_ids)
    np.testing.assert_array_equal(chunks, inputs.vectors(small.embed(inputs.rows)))
    assert read.tokens == inputs.tokens


def test_read_alone_chunks_and_the_whole_have_the_vectors_of_plain_inputs(
    small: Embedder, rng: np.random.Generator
) -> None:
    texts = [*texts_of(rng, 3), ""]
    for whole in (True, False):
        reading = DocumentOptions(
            Chunking(max_tokens=12), late_chunking=False, document_vector=whole
        )
        task = small.tasks.by_name("separation")
        read = documents.tokenize(texts, task, reading, small.tokenizer)
        charged = 0
        for document, (chunks, own) in zip(
            read.documents, read.vectors(small.embed(read.rows)), strict=True
        ):
            parts = [document.text[start:end] for start, end in document.chunks.characters]
            plain = small.tokenizer.rows([*parts, *[document.text] * whole], task)
            if plain.rows:
                expected = small.embed(plain.rows)
                np.testing.assert_allclose(np.concatenate([chunks, own]), expected, atol=1e-5)
            charged += plain.tokens
        assert read.tokens == charged


def test_documents_longer_than_the_model_reads_are_read_in_windows_beside_short_ones(
    small: Embedder,
) -> None:
    task = small.tasks.by_name("retrieval.query")
    texts = ["Short. ", "a b. " * 4100, "Also short."]
    reading = DocumentOptions(Chunking(max_tokens=700), overlap=100)
    read = documents.tokenize(texts, task, reading, small.tokenizer)
    assert len(read.rows) == 4
    whole = documents.tokenize(texts[1:2], task, reading, small.tokenizer)
    front = len(small.tokenizer.ids([task.instruction])[0]) + 1
    ids = small.tokenizer.with_special_tokens(
        [small.tokenizer.ids([task.instruction])[0], *small.tokenizer.ids(texts[1:2])]
    )
    tokens = whole.documents[0].chunks.tokens + front
    tokens[0, 0], tokens[-1, 1] = 0, len(ids)
    spans = np.concatenate([tokens, [[0, len(ids)]]]).astype(np.int32)
    expected = in_windows(small, Row(ids, task.adapter, spans), front + 8193, 100)
    vectors = list(read.vectors(small.embed(read.rows)))
    np.testing.assert_allclose(np.concatenate(vectors[1]), expected, rtol=1e-5, atol=1e-5)
    alone = small.tokenizer.rows([texts[0], texts[2]], task)
    np.testing.assert_allclose(
        np.concatenate([vectors[0][1], vectors[2][1]]), small.embed(alone.rows), atol=1e-5
    )


def test_what_is_over_a_limit_is_named(small: Embedder) -> None:
    task, tokenizer = small.tasks.by_name(None), small.tokenizer

    def read(texts: list[str], **changes: object) -> None:
        documents.tokenize(texts, task, DocumentOptions(Chunking(), **changes), tokenizer)  # type: ignore[arg-type]

    with pytest.raises(TooManyTokensError, match=r"texts\[1\] has 6 tokens; at most 5") as long:
        read(["a", "b " * 6], max_document_tokens=5)
    assert long.value.index == 1
    with pytest.raises(TooManyChunksError, match="texts have 3 chunks and more; at most 2") as many:
        read(["a", "b", "c", "d"], max_chunks=2)
    assert many.value.index == 2
    for text, stop, large in (("b c " * 20, 40, 20), ("b" + " " * 158 + "c", 160, 10)):
        spans = [np.array([[0, stop]] * 3)]
        read([text], spans=spans, max_chunk_tokens=3 * large)
        said = f"chunks have {3 * large} tokens together; at most {3 * large - 1} are"
        with pytest.raises(ChunksTooLargeError, match=said):
            read([text], spans=spans, max_chunk_tokens=3 * large - 1)
    spans = [np.array([[0, 9000 * 2]])]
    with pytest.raises(ChunkTooLongError, match=r"a chunk has 9000 tokens; .* at most 8192"):
        read(["a " * 9000], late_chunking=False, spans=spans)
    with pytest.raises(SpanError, match="' ' has no token") as bare:
        read(["a", "b c"], spans=[np.array([[0, 1]]), np.array([[0, 1], [1, 2]])])
    assert (bare.value.index, bare.value.span) == (1, 1)


def test_documents_come_back_with_their_chunks(small: Embedder) -> None:
    texts = ["One sentence. Two 😀 here.", "", "Three."]
    documents = small.embed_documents(iter(texts), min_tokens=1, dimensions=8)
    assert [document.text for document in documents] == texts
    assert [len(document.chunks) for document in documents] == [2, 0, 1]
    for document in documents:
        assert document.vector.shape == (8,)
        for chunk in document.chunks:
            assert document.text[chunk.start : chunk.end] == chunk.text
            assert np.linalg.norm(chunk.vector) == pytest.approx(1, abs=1e-6)
        assert sum(chunk.tokens for chunk in document.chunks) == document.tokens
    whole = small.embed_texts(texts, "retrieval.passage", dimensions=8)
    own = np.array([document.vector for document in documents])
    np.testing.assert_allclose(own, whole, atol=1e-5)
    assert small.embed_documents([]) == []


def test_documents_are_cut_at_spans_as_late_chunking_reads_the_pieces(small: Embedder) -> None:
    (document,) = small.embed_documents("ab cd e", by="spans", spans=[[(0, 2), (3, 7)]])
    pieces = small.embed_texts(["ab", "cd e"], "retrieval.passage", late_chunking=True)
    np.testing.assert_array_equal([chunk.vector for chunk in document.chunks], pieces)


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"by": "words"}, ValueError, "by is 'words'; it may be sentences, tokens, markdown"),
        ({"max_tokens": 8193}, ValueError, "max_tokens is 8193; this model takes 1 to 8192."),
        ({"max_tokens": 2.0}, TypeError, "max_tokens must be a whole number"),
        ({"overlap": 129}, ValueError, "overlap is 129; this model takes 0 to 128."),
        ({"by": "tokens", "min_tokens": 1}, ValueError, "min_tokens does not count where by is"),
        ({"by": "spans"}, ValueError, "spans and by='spans' need each other."),
        ({"spans": [[(0, 1)]]}, ValueError, "spans and by='spans' need each other."),
        ({"by": "spans", "spans": []}, ValueError, "spans are of 0 texts, and there are 1."),
        (
            {"by": "spans", "spans": [[(0, 1), (1, 9)]]},
            ValueError,
            "spans[0][1] is (1, 9); texts[0] has 3 code points.",
        ),
        ({"by": "spans", "spans": [[(1, 2)]]}, ValueError, "' ' has no token of its own"),
        ({"late_chunking_overlap": 5000}, ValueError, "takes 0 to 4096"),
    ],
)
def test_documents_that_cannot_be_cut_so_are_refused(
    small: Embedder, arguments: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=re.escape(sentence)):
        small.embed_documents("a b", **arguments)
