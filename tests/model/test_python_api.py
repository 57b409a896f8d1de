"""embed_texts from Python: defaults, arguments of every kind, and errors."""

import json
import os
import pty
import re
import sys
import termios
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model import embedder
from model.embedder import Embedder
from model.rows import Row
from model.tasks import UnknownTaskError
from model.tokenizer import RowOptions, TooManyTokensError
from tests.checkpoints import MINI, Shape, write_original

TEXTS = ["Guten Morgen!", "two words", "drei kurze Worte"]


@pytest.fixture(scope="module")
def mini() -> Embedder:
    return embedder.load("quintet-mini", "cpu", "float32")


@pytest.fixture(scope="module")
def small(original: Path) -> Embedder:
    """Small and random; 64 dimensions."""
    return embedder.load(str(original), "cpu", "float32")


def test_the_embedded_model_is_loaded_by_its_name_and_shows_what_it_is(mini: Embedder) -> None:
    shown = repr(mini)
    assert re.fullmatch(
        r"<Embedder quintet-mini: \d+\.\dM parameters, 384 dimensions, 8192 tokens a text, "
        r"tasks retrieval\.query, .*, text-matching; float32 on cpu, \d+ threads>",
        shown,
    )


def test_models_are_found_as_everywhere_else(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(original.parent)
    for model in (original, str(original), f"./{original.name}"):
        assert embedder.load(model, "cpu").name == str(model)


def test_without_a_task_texts_are_read_as_the_service_reads_them(small: Embedder) -> None:
    default = small.embed_texts(TEXTS)
    np.testing.assert_array_equal(default, small.embed_texts(TEXTS, "text-matching"))
    rows = small.tokenizer.rows(TEXTS, small.tasks.by_name(None)).rows
    base = small.embed(rows)
    base /= np.linalg.norm(base, axis=1, keepdims=True)
    np.testing.assert_allclose(small.embed_texts(TEXTS, task="none"), base, atol=1e-6)
    assert (np.abs(default - base).max(axis=1) > 0.01).all()


def test_a_task_that_the_model_does_not_have_is_refused_also_where_it_is_the_default(
    small: Embedder, tmp_path: Path
) -> None:
    names: list[Any] = ["retrieval", "Text-Matching", "", None]
    for name in names:
        with pytest.raises(UnknownTaskError, match=r"this model has .*, text-matching, none\."):
            small.embed_texts(TEXTS, name)
        with pytest.raises(UnknownTaskError):
            small.embed_texts([], name)
    other = embedder.load(
        write_original(tmp_path / "other", Shape(layers=1, tasks=("mine",))), "cpu"
    )
    with pytest.raises(UnknownTaskError, match="'text-matching'; this model has mine, none"):
        other.embed_texts(TEXTS)


def test_texts_may_be_any_iterable_of_str(small: Embedder) -> None:
    expected = small.embed_texts(TEXTS)
    column = dict(enumerate(TEXTS)).values()
    for texts in (
        tuple(TEXTS),
        (text for text in TEXTS),
        column,
        np.array(TEXTS),
        np.array(TEXTS, dtype=object),
    ):
        np.testing.assert_array_equal(small.embed_texts(texts), expected)


def test_a_str_is_one_text_and_no_text_gives_no_vector(small: Embedder) -> None:
    np.testing.assert_array_equal(small.embed_texts(TEXTS[0]), small.embed_texts(TEXTS[:1]))
    np.testing.assert_array_equal(
        small.embed_texts(TEXTS[0], late_chunking=True), small.embed_texts(TEXTS[:1])
    )
    for late_chunking in (False, True):
        for dimensions, width in ((None, 64), (5, 5)):
            empty = small.embed_texts([], late_chunking=late_chunking, dimensions=dimensions)
            assert (empty.shape, empty.dtype) == ((0, width), np.float32)


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["a", None], "texts[1] is None, of type NoneType, not str."),
        (["a", "b", float("nan")], "texts[2] is nan, of type float, not str."),
        ([["a"]], "texts[0] is ['a'], of type list, not str."),
        ([b"a"], "texts[0] is b'a', of type bytes, not str."),
        (b"a", "not bytes."),
        ({"text": "a"}, "not dict."),
        (np.array([["a", "b"]]), "not ndarray."),
        (None, "not NoneType."),
        (3, "texts must be a str or a one-dimensional iterable of str, not int."),
    ],
)
def test_what_is_no_text_is_named(small: Embedder, texts: Any, sentence: str) -> None:
    with pytest.raises(TypeError, match=re.escape(sentence) + "$"):
        small.embed_texts(texts)


@pytest.mark.parametrize("dimensions", [1, 63, 64, np.int64(7)])
def test_vectors_are_cut_and_then_unit_vectors(small: Embedder, dimensions: int) -> None:
    found = small.embed_texts(TEXTS, dimensions=dimensions)
    whole = small.embed_texts(TEXTS)[:, :dimensions]
    assert found.shape == (3, dimensions)
    np.testing.assert_allclose(
        found, whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-6
    )


@pytest.mark.parametrize("dimensions", [-1, 0, 65, 1 << 70])
def test_dimensions_out_of_range_are_refused(small: Embedder, dimensions: int) -> None:
    for texts in (TEXTS, []):
        with pytest.raises(ValueError, match=f"^dimensions is {dimensions}; .* takes 1 to 64.$"):
            small.embed_texts(texts, dimensions=dimensions)


@pytest.mark.parametrize("flag", ["late_chunking", "truncate"])
def test_a_flag_is_true_or_false(small: Embedder, flag: str) -> None:
    with pytest.raises(TypeError, match=f"^{flag} must be True or False, not 'no'.$"):
        small.embed_texts(["a"], **{flag: "no"})


@pytest.mark.parametrize("dimensions", [True, 8.0, "8", np.True_, [8]])
def test_dimensions_are_a_whole_number(small: Embedder, dimensions: Any) -> None:
    with pytest.raises(TypeError, match=r"^dimensions must be a whole number from 1 to 64, not "):
        small.embed_texts(TEXTS, dimensions=dimensions)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    """A model that reads 60 tokens."""
    folder = write_original(tmp_path_factory.mktemp("models") / "short", Shape())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 62}))
    return embedder.load(folder, "cpu", "float32")


def test_a_text_that_is_too_long_is_refused_in_pythons_words_or_cut(short: Embedder) -> None:
    texts = ["a", "b " * 61]
    with pytest.raises(TooManyTokensError) as refused:
        short.embed_texts(texts)
    assert str(refused.value) == (
        "texts[1] has 61 tokens; this model reads at most 60. "
        "Pass truncate=True to cut at the limit."
    )
    np.testing.assert_array_equal(
        short.embed_texts(texts, truncate=True), short.embed_texts(["a", "b " * 60])
    )


def test_a_long_document_is_read_in_windows_as_the_service_reads_it(short: Embedder) -> None:
    texts = ["a " * 50, "b " * 40, "c"]
    with pytest.raises(TooManyTokensError) as refused:
        short.embed_texts(texts, late_chunking=True)
    assert str(refused.value) == (
        "late chunking reads all inputs as one document of at most 60 tokens; these 3 inputs "
        "have 91. Pass truncate=True to cut at the limit, or late_chunking_overlap=30 for windows."
    )
    reading = RowOptions(late_chunking=True, overlap=16, max_document_tokens=131_072)
    tokenized = short.tokenizer.rows(texts, short.tasks.by_name("text-matching"), reading)
    assert len(tokenized.rows) == 2
    expected = tokenized.vectors(short.embed(tokenized.rows))
    found = short.embed_texts(texts, late_chunking=True, late_chunking_overlap=16)
    cosines = (found * expected).sum(axis=1) / np.linalg.norm(expected, axis=1)
    np.testing.assert_allclose(cosines, 1, atol=1e-6)


def test_windows_overlap_by_half_of_a_small_limit_unless_another_overlap_is_said(
    short: Embedder,
) -> None:
    text = "One sentence here. " * 40
    (found,) = short.embed_documents([text], max_tokens=20)
    (expected,) = short.embed_documents([text], max_tokens=20, late_chunking_overlap=30)
    assert found.tokens > 60
    np.testing.assert_array_equal(found.vector, expected.vector)
    with pytest.raises(ValueError, match="late_chunking_overlap is 256; this model takes 0 to 30"):
        short.embed_documents([text], max_tokens=20, late_chunking_overlap=256)


@pytest.mark.parametrize("overlap", [-1, 31])
def test_an_overlap_is_in_the_services_range_and_needs_late_chunking(
    short: Embedder, overlap: int
) -> None:
    said = rf"^late_chunking_overlap is {overlap}; this model takes 0 to 30\.$"
    with pytest.raises(ValueError, match=said):
        short.embed_texts(TEXTS, late_chunking=True, late_chunking_overlap=overlap)
    with pytest.raises(ValueError, match="needs late_chunking=True"):
        short.embed_texts(TEXTS, late_chunking_overlap=16)


def test_half_of_a_character_is_read_as_the_replacement_character(small: Embedder) -> None:
    cut = ["Sehr gut \ud83d", "\ude00 danke"]
    np.testing.assert_array_equal(
        small.embed_texts(cut), small.embed_texts(["Sehr gut \ufffd", "\ufffd danke"])
    )


def test_spans_of_a_text_whose_characters_are_in_halves_are_refused(small: Embedder) -> None:
    halves = "\ud83d\ude00 Alpha beta."
    with pytest.raises(ValueError, match=r"texts\[1\] has 1 characters in two halves") as raised:
        small.embed_documents(["a", halves], by="spans", spans=[[(0, 1)], [(3, 8)]])
    assert 'encode("utf-16", "surrogatepass")' in str(raised.value)
    joined = halves.encode("utf-16", "surrogatepass").decode("utf-16")
    (found,) = small.embed_documents([joined], by="spans", spans=[[(2, 7)]])
    assert [chunk.text for chunk in found.chunks] == ["Alpha"]


@pytest.mark.parametrize(
    "spans",
    [
        [(0.5, 3.9)],
        [(False, True)],
        [("0", "3")],
        [(0, 3, 4, 7)],
        [0, 3, 4, 7],
        [(0, 3), (4,)],
        [()],
        [(0, None)],
        [(0, 10**30)],
        5,
    ],
)
def test_spans_that_are_no_pairs_of_whole_numbers_are_refused(small: Embedder, spans: Any) -> None:
    said = r"^spans\[1\] must be pairs of whole numbers \(start, end\), not "
    with pytest.raises(TypeError, match=said):
        small.embed_documents(TEXTS[:2], by="spans", spans=[[(0, 3)], spans])


def test_spans_may_be_arrays_and_none(small: Embedder) -> None:
    spans = [np.array([[0, 5], [6, 12]], np.uint8), []]
    found = small.embed_documents(TEXTS[:2], by="spans", spans=spans)
    assert [[chunk.text for chunk in each.chunks] for each in found] == [["Guten", "Morgen"], []]


def test_vectors_that_are_not_finite_are_refused() -> None:
    broken = embedder.load(MINI, "cpu", "float32")
    (row,) = broken.tokenizer.rows(["zebra"], broken.tasks.by_name(None)).rows
    with torch.inference_mode():
        broken.encoder.embedding.word[int(row.token_ids[1])] = torch.nan
    with pytest.raises(FloatingPointError, match=r"texts\[1\] are not finite in float32"):
        broken.embed_texts(["Haus", "zebra"])


def test_a_bar_is_shown_on_a_terminal_or_where_it_is_asked_for(
    small: Embedder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown(rows: list[Row], progress: bool | None) -> bool:
        """Whether there is a bar on a terminal, for batches of 10 tokens."""
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, 80))
        with os.fdopen(theirs, "w") as terminal, monkeypatch.context() as patched:
            patched.setattr(sys, "stderr", terminal)
            small.embed(rows, 10, progress=progress)
            os.write(theirs, b"end")
            seen = b""
            while not seen.endswith(b"end"):
                seen += os.read(ours, 4096)
        os.close(ours)
        assert b"30.0/30.0" in seen or seen == b"end"
        return seen != b"end"

    rows = [Row.single_span(np.zeros(10, np.int32), None)] * 3
    assert shown(rows, None)
    assert not shown(rows, progress=False)
    assert not shown(rows[:1], None), "one batch is over at once"
    small.embed_texts(TEXTS)
    assert capsys.readouterr().err == ""
    small.embed_texts(TEXTS, progress=True)
    assert "100%" in capsys.readouterr().err
