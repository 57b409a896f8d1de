"""Tokenising, embedding and writing of parts, one after the other and without Ray, against
`embed_texts` and `embed_documents`."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

from model import embedder
from model.config import read_config
from model.corpus import folders, tokenizing
from model.corpus.embedding import EmbedParts, space_of
from model.corpus.errors import CorpusError
from model.corpus.folders import folder
from model.corpus.options import ChunkOptions, CorpusOptions, ModelOptions, PartSize
from model.corpus.reading import read_parts
from model.corpus.tokenizing import TokenizeParts, check, output_fields
from model.corpus.writing import Output, join_parts, write_part
from model.embedder import Embedder
from model.fingerprint import digest_of_readers
from model.tasks import Tasks
from tests.app.tools.command import read_jsonl
from tests.model.corpus.corpora import files_of, options, sentence, write_jsonl

SENTENCES = ChunkOptions("sentences", 32, 1, 0)
TASK = "retrieval.passage"


@pytest.fixture(scope="module")
def quintet(original: Path) -> Embedder:
    return embedder.load(original, "cpu", "float32")


def space(checkpoint: Path, *, chunked: bool = False) -> str:
    config = read_config(checkpoint)
    task = Tasks(config).by_argument(TASK)
    return str(space_of(checkpoint, config, task, chunked=chunked))


@pytest.fixture
def embed(original: Path, tmp_path: Path) -> Callable[..., Any]:
    """Embeds the only file of tmp_path/in by all stages; the table of its output."""

    def run(
        asked: CorpusOptions, size: PartSize, damage: Callable[[Any], None] | None = None
    ) -> Any:
        source, output = folder(str(tmp_path / "in")), folder(str(tmp_path / "out"))
        (file,) = files_of(tmp_path / "in")
        model = ModelOptions(str(original), dtype="float32")
        tokenize = TokenizeParts(model, asked, digest_of_readers(original))
        own = space(original, chunked=asked.chunks is not None)
        embed_parts = EmbedParts(model, asked, own, "cpu", 1)
        if damage is not None:
            embed_parts._model.run(damage)
        width = asked.dimensions or read_config(original).hidden_size
        into = Output(output, "run", output_fields(asked.chunks), width, {folders.SPACE: own})
        rows = [
            write_part(embed_parts(tokenize(part)), into).to_pylist()[0]
            for part in read_parts(0, file, source.filesystem, asked.columns, size)
        ]
        join_parts(file, [(row["name"], row["failed"]) for row in rows], into)
        return pq.read_table(tmp_path / "out" / file.output_name)

    return run


def vectors(table: Any) -> np.ndarray:
    column = table.column("embedding").combine_chunks()
    return column.values.to_numpy().reshape(len(table), column.type.list_size)


@pytest.mark.parametrize("texts", [1, 7, 4096])
def test_texts_have_the_vectors_of_embed_texts(
    embed: Callable[..., Any], quintet: Embedder, tmp_path: Path, texts: int
) -> None:
    written = [sentence(number, number % 30) for number in range(25)]
    write_jsonl(tmp_path / "in/a.jsonl", ({"id": i, "text": t} for i, t in enumerate(written)))
    table = embed(options(dimensions=48), PartSize(texts, 10_000))
    assert table.schema.names == ["id", "embedding"]
    assert table.column("id").to_pylist() == [str(number) for number in range(25)]
    expected = quintet.embed_texts(written, TASK, dimensions=48)
    np.testing.assert_allclose(vectors(table), expected, atol=1e-5)
    assert folders.SPACE.encode() in table.schema.metadata
    assert not (tmp_path / "out/_errors").exists()
    assert [*(tmp_path / "out/_parts/run").iterdir()] == []


@pytest.mark.parametrize("texts", [1, 4096])
def test_chunks_have_the_vectors_of_embed_documents(
    embed: Callable[..., Any], quintet: Embedder, tmp_path: Path, texts: int
) -> None:
    """Also those of a document that takes several windows, and of none."""
    windows = " ".join(f"{sentence(number)}." for number in range(900))
    assert len(quintet.tokenizer.ids([windows])[0]) > quintet.config.max_tokens
    written = ["One sentence. Another one.", "", windows, "The last one."]
    write_jsonl(tmp_path / "in/a.jsonl", ({"text": text} for text in written))
    table = embed(options(chunks=SENTENCES), PartSize(texts, 10_000))
    assert table.schema.names == ["id", "chunk", "start", "end", "text", "embedding"]
    documents = quintet.embed_documents(written, by="sentences", max_tokens=32, min_tokens=1)
    expected = [
        (f"a.jsonl:{row}", number, chunk.start, chunk.end, chunk.text)
        for row, document in enumerate(documents)
        for number, chunk in enumerate(document.chunks)
    ]
    columns = ("id", "chunk", "start", "end", "text")
    assert [*zip(*(table.column(name).to_pylist() for name in columns), strict=True)] == expected
    own = np.stack([chunk.vector for document in documents for chunk in document.chunks])
    np.testing.assert_allclose(vectors(table), own, atol=1e-5)
    (failed,) = read_jsonl(tmp_path / "out/_errors/a.jsonl.jsonl")
    assert failed == {"row": 1, "id": "a.jsonl:1", "error": "it is blank: it has no chunk."}


def test_chunks_may_go_without_their_texts(embed: Callable[..., Any], tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in/a.jsonl", [{"text": "One sentence. Another one."}])
    table = embed(options(chunks=ChunkOptions("tokens", 8, 0, 0, text=False)), PartSize(9, 999))
    assert table.schema.names == ["id", "chunk", "start", "end", "embedding"]


@pytest.mark.parametrize("truncate", [False, True])
def test_a_text_over_the_limit_is_left_out_or_cut(
    embed: Callable[..., Any], quintet: Embedder, tmp_path: Path, truncate: bool
) -> None:
    long = "bread " * 9000
    write_jsonl(tmp_path / "in/a.jsonl", [{"text": "a"}, {"text": long}, {"text": "b"}])
    table = embed(options(truncate=truncate), PartSize(9, 999_999))
    kept = ["a", long, "b"] if truncate else ["a", "b"]
    np.testing.assert_allclose(
        vectors(table), quintet.embed_texts(kept, TASK, truncate=True), atol=1e-5
    )
    errors = tmp_path / "out/_errors/a.jsonl.jsonl"
    assert errors.exists() != truncate
    if not truncate:
        (failed,) = read_jsonl(errors)
        sentence = f"it has 9000 tokens; this model reads at most {quintet.config.max_tokens}."
        assert failed == {"row": 1, "id": "a.jsonl:1", "error": sentence}


def test_a_vector_that_is_not_finite_is_never_written(
    embed: Callable[..., Any], tmp_path: Path
) -> None:
    """Of the documents of a part, the one that the model fails on has no chunk in the output."""
    write_jsonl(tmp_path / "in/a.jsonl", ({"text": f"{word}. Yes."} for word in "abc"))

    def damage(quintet: Embedder) -> None:
        right = quintet.embed

        def embed_wrong(*arguments: Any, **named: Any) -> np.ndarray:
            found = right(*arguments, **named)
            found[4] = np.inf  # of each document two chunks and the whole
            return found

        quintet.embed = embed_wrong  # type: ignore[method-assign]

    table = embed(options(chunks=SENTENCES), PartSize(9, 999), damage)
    assert table.column("id").to_pylist() == ["a.jsonl:0"] * 2 + ["a.jsonl:2"] * 2
    (failed,) = read_jsonl(tmp_path / "out/_errors/a.jsonl.jsonl")
    assert (failed["row"], failed["error"]) == (
        *(1, "the model's numbers are not finite in float32."),
    )


def test_a_file_without_a_good_row_has_an_output_without_vectors(
    embed: Callable[..., Any], tmp_path: Path
) -> None:
    write_jsonl(tmp_path / "in/a.jsonl", [{"text": None}])
    table = embed(options(dimensions=16), PartSize(9, 999))
    assert len(table) == 0
    assert table.schema.field("embedding").type.list_size == 16


def test_another_checkpoint_under_the_name_is_refused(original: Path) -> None:
    with pytest.raises(CorpusError, match=r"gives vectors of the embedding space .* of x\.y"):
        EmbedParts(ModelOptions(str(original)), options(), "x.y", "cpu", 1)


def swap_two_tokens(tokenizer: dict[str, Any]) -> None:
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary[300], vocabulary[301] = vocabulary[301], vocabulary[300]


def say_another_instruction(config: dict[str, Any]) -> None:
    config["task_instructions"][TASK] = "Another one: "


@pytest.mark.parametrize(
    ("name", "change"),
    [("tokenizer.json", swap_two_tokens), ("config.json", say_another_instruction)],
)
def test_another_checkpoint_under_the_name_tokenises_nothing(
    original: Path, tmp_path: Path, name: str, change: Callable[[dict[str, Any]], None]
) -> None:
    """As a node may have one that never embeds."""
    readers = digest_of_readers(original)
    here = Path(shutil.copytree(original, tmp_path / "here"))
    TokenizeParts(ModelOptions(str(here)), options(), readers)
    content = orjson.loads((here / name).read_bytes())
    change(content)
    (here / name).write_bytes(orjson.dumps(content))
    with pytest.raises(CorpusError, match=r"another tokenizer\.json or config\.json"):
        TokenizeParts(ModelOptions(str(here)), options(), readers)


def test_an_output_that_was_not_written_to_its_end_is_none(
    embed: Callable[..., Any], tmp_path: Path
) -> None:
    """A part is missing: nothing appears under the name."""
    write_jsonl(tmp_path / "in/a.jsonl", [{"text": "a"}])
    (file,) = files_of(tmp_path / "in")
    output = folder(str(tmp_path / "out"))
    into = Output(output, "run", output_fields(None), 64, {folders.SPACE: "a.b"})
    output.filesystem.create_dir(output.at("_parts/run"), recursive=True)
    with pytest.raises(FileNotFoundError):
        join_parts(file, [("_parts/run/gone", 0)], into)
    assert output.files() == []
    assert [*(tmp_path / "out/_parts/run").iterdir()] == []


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (options(dimensions=65), "--dimensions is 65; this model has 64"),
        (options(chunks=SENTENCES, truncate=True), "--truncate does not go with --chunk"),
        (options(chunks=ChunkOptions("tokens", 9000, 0, 0)), "max_tokens is 9000"),
    ],
)
def test_options_that_the_model_cannot_do_are_a_sentence(
    original: Path, asked: CorpusOptions, said: str
) -> None:
    with pytest.raises(CorpusError, match=said):
        check(asked, read_config(original))


def test_parts_of_no_texts_are_embedded(original: Path) -> None:
    model = ModelOptions(str(original), dtype="float32")
    tokenize = TokenizeParts(model, options(), digest_of_readers(original))
    part = {"file": [0], "part": [0], "last": [True], "broken": [None], "failed": [[]]}
    import pyarrow as pa

    from model.corpus.reading import SCHEMA

    empty = pa.table({**part, "ids": [[]], "rows": [[]], "texts": [[]]}, schema=SCHEMA)
    assert tokenizing.rows_of(tokenize(empty), None) == []
