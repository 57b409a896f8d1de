"""Texts as batches, and lessons."""

import json
import lzma
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.training.adapter_setup import PASSAGE, QUERY
from model.training.batches import split
from model.training.errors import TrainingError
from model.training.mini.corpora import Corpora, read_corpora
from model.training.mini.healing import SHARE, TeacherSpace
from model.training.mini.lessons import Judge, lessons_of
from model.training.mini.material import Draw, Material
from model.training.mini.teacher_file import TeacherFile
from model.training.mini.texts import Texts, segments_of
from model.training.mini.vocabulary import tokenizer_of
from tests.model.training.mini.corpus import (
    HELD_OUT,
    german,
)


def test_what_is_held_out_is_never_trained_on(corpora: Corpora, texts: Texts) -> None:
    """Neither the text itself, in other letters, nor its translation."""
    for text in (HELD_OUT, german(HELD_OUT)):
        assert text not in texts.index
        assert text not in {item.text for item in corpora.items}
    assert len([item for item in corpora.items if item.source == "ntrex"]) > 100
    assert 30 < len(corpora.passages) <= 40
    assert set(corpora.labelled) == {"topics"}


def test_a_gloss_that_is_held_out_is_never_trained_on(tmp_path: Path) -> None:
    rows = [
        {"a": "a domestic animal", "b": "an animal", "score": 3},
        {"words": ["cow"], "gloss": "A domestic animal.", "examples": []},
        {"words": ["tree"], "gloss": "a tall plant", "examples": []},
        {"words": ["void"], "gloss": "", "examples": []},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert read_corpora(tmp_path).glosses == [("tree", "a tall plant")]


def test_a_line_that_is_not_understood_is_named(tmp_path: Path) -> None:
    with lzma.open(tmp_path / "odd.jsonl.xz", "wt") as file:
        file.write(json.dumps({"en": "fine"}) + "\n[1]\n")
    with pytest.raises(TrainingError, match=r"odd.jsonl.xz, line 2: must be an object"):
        read_corpora(tmp_path)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"text": "fine"}, "it has 'text', and no 'lang'."),
        ({"passage": "fine", "lang": "en"}, "it has 'passage', and no 'questions'."),
        ({"passage": "fine", "questions": []}, "it has 'passage', and no 'lang'."),
        (
            {"passage": "fine", "lang": "en", "questions": "fine?"},
            "the field 'questions' is 'fine?'",
        ),
        (
            {"passage": "x", "lang": "en", "questions": [1], "split": "dev"},
            "the field 'questions' is",
        ),
        ({"gloss": "fine", "words": ["x"]}, "it has 'gloss', and no 'examples'."),
        ({"gloss": "fine", "words": "x", "examples": []}, "the field 'words' is 'x', not a list"),
        ({"label": "fine"}, "it has 'label', and no 'text'."),
        ({"label": "fine", "text": "x", "set": 3}, "the field 'set' must be a text, not a number."),
        ({"text": "fine", "lang": None}, "the field 'lang' must be a text, not null."),
        ({"en": "fine", "de": 3}, "the field 'de' must be a text, not a number."),
        ({"en": None, "de": "gut"}, "the field 'en' must be a text, not null."),
        ({"a": "fine", "b": 3, "score": 1}, "the field 'b' must be a text, not a number."),
    ],
)
def test_a_row_without_what_its_kind_needs_is_named(
    tmp_path: Path, row: dict, sentence: str
) -> None:
    rows = [{"en": "fine", "de": None, "split": "dev"}, row]
    (tmp_path / "odd.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(TrainingError, match=re.escape(f"odd.jsonl, line 2: {sentence}")):
        read_corpora(tmp_path)


def test_segments_are_sentences_of_some_length() -> None:
    long = "a sentence of about a hundred letters, " * 2 + "which is enough to stand alone"
    assert segments_of(f"{long}. Short. {long}! The end") == [
        f"{long}.",
        f"Short. {long}!",
        "The end",
    ]


def test_documents_have_neighbours_in_order(corpora: Corpora, texts: Texts) -> None:
    every = list(texts.index)
    news = [item.text for item in corpora.items if (item.source, item.lang) == ("ntrex", "de")]
    running = [
        [every[at] for _, segments in document for at in segments]
        for document in texts.documents
        if document[0][0] is None
    ]
    assert news[:16] in running
    for document in texts.documents:
        for whole, segments in document:
            if whole is not None:
                assert " ".join(every[at] for at in segments) == every[whole].strip()


@pytest.fixture(scope="module")
def material(texts: Texts, teacher: TeacherFile, vectors: np.ndarray) -> Material:
    draw = Draw(tokens=512, longest=100, longest_document=100)
    return Material(texts, tokenizer_of(teacher.pieces), vectors, draw, seed=3)


def test_batches_have_each_texts_own_vector_and_nothing_held_out(
    texts: Texts, teacher: TeacherFile, vectors: np.ndarray, material: Material
) -> None:
    tokenizer = tokenizer_of(teacher.pieces)
    rows = {tuple(tokenizer.encode(text).ids[:99]): at for text, at in texts.index.items()}
    judged = {rows[tuple(row.token_ids[:99])] for b in material.validation() for row in b.rows}
    assert 0 < len(judged) <= len(texts.index) // 10
    batches = material.batches(60 * 512)
    seen, documents = set(), 0
    assert len(batches) == 60
    for batch in map(batches.batch, range(60)):
        assert len(batch.rows) * max(map(len, batch.rows)) <= 512
        assert len(batch.vectors) == sum(len(row.spans) for row in batch.rows)
        documents += any(len(row.spans) > 1 for row in batch.rows)
        found = [rows.get(tuple(row.token_ids[:99])) for row in batch.rows]
        if None not in found:
            np.testing.assert_array_equal(batch.vectors.numpy(), vectors[found])
            seen.update(found)
    assert 2 < documents < 25
    assert len(seen) > len(texts.index) / 2
    assert not seen & judged
    again = material.batches(60 * 512).batch(7)
    assert again.vectors.equal(batches.batch(7).vectors)


def test_texts_are_read_with_their_instruction_as_well_for_the_same_vector(
    texts: Texts, teacher: TeacherFile, vectors: np.ndarray
) -> None:
    tokenizer = tokenizer_of(teacher.pieces)
    draw = Draw(tokens=512, longest=100, instructions={"question": "the river: "})
    material = Material(texts, tokenizer, vectors, draw, 3)
    asked = [text for text, at in texts.index.items() if texts.sources[at] == "question"]
    rows = {tuple(tokenizer.encode(f"the river: {text}").ids): text for text in asked}
    found = set()
    judged = {tuple(row.token_ids) for batch in material.validation() for row in batch.rows}
    batches = material.batches(60 * 512)
    for batch in map(batches.batch, range(len(batches))):
        if len(batch.rows) < len(batch.vectors):
            continue
        for row, vector in zip(batch.rows, batch.vectors.numpy(), strict=True):
            text = rows.get(tuple(row.token_ids))
            if text is not None:
                np.testing.assert_array_equal(vector, vectors[texts.index[text]])
                assert tuple(row.token_ids) not in judged
                assert tuple(tokenizer.encode(text).ids) not in judged
                found.add(text)
    assert len(found) > len(asked) / 2


def test_a_documents_segments_are_to_say_something_of_what_is_around_them(
    texts: Texts, teacher: TeacherFile, vectors: np.ndarray, material: Material
) -> None:
    tokenizer = tokenizer_of(teacher.pieces)
    number = next(at for at, each in enumerate(texts.documents) if each[0][0] is not None)
    (row,) = (batch := material.batch((True, [number]))).rows
    document = texts.documents[number]
    assert row.spans[0, 0] == 0
    assert row.spans[-1, 1] == len(row) <= 100
    assert (row.spans[1:, 0] == row.spans[:-1, 1]).all()
    assert (row.token_ids[0], row.token_ids[-1]) == (0, 2)
    whole, segments = document[0]
    first = tokenizer.encode(list(texts.index)[segments[0]]).ids[:-1]
    assert row.token_ids[: row.spans[0, 1]].tolist() == first[: row.spans[0, 1]]
    around = [vectors[at] for at, of_it in document for _ in of_it][: len(row.spans)]
    mean = np.mean(around, axis=0)
    expected = vectors[segments[0]] + vectors[whole] + 0.15 * mean / np.linalg.norm(mean)
    np.testing.assert_allclose(batch.vectors[0].numpy(), expected / 2.15, atol=1e-5)


def test_lessons_are_what_the_teacher_says(
    corpora: Corpora, texts: Texts, vectors: np.ndarray
) -> None:
    space = TeacherSpace.of(torch.from_numpy(vectors))
    judge = Judge(texts, vectors, space)
    lessons = lessons_of(corpora, judge, 5)
    assert lessons == lessons_of(corpora, judge, 5)
    assert list(lessons) == ["retrieval", "text-matching", "classification", "separation"]
    for lesson in lessons.values():
        assert split(lesson.examples, 0.3, 0).training
        assert bool(lesson.documents) == (lesson.trained == (QUERY, PASSAGE))
    answers = {each.text: each for each in corpora.passages}
    triples = zip(*lessons["retrieval"].examples.columns, strict=True)
    asked = [triple for triple in triples if triple[1] in answers]
    assert len(asked) >= len(corpora.passages)
    for question, answer, other in asked:
        assert question in answers[answer].questions
        assert other != answer
        assert answers[other].lang == answers[answer].lang
    scored = lessons["text-matching"].examples
    assert len(scored) > 50
    read_items = [item for item in corpora.items if item.text in texts.index]
    english = {item.text: item.english for item in read_items}
    wordings = {(item.english, item.lang): item.text for item in read_items}
    square = float(space.mean.double() @ space.mean.double())
    translated = 0
    for first, second, score in zip(*scored.columns, scored.values, strict=True):
        one, other = english[first], english[second]
        said = [
            vectors[texts.index[wordings[one, lang]]].astype(float)
            @ vectors[texts.index[wordings[other, lang]]].astype(float)
            for lang in ("en", "de")
            if (one, lang) in wordings and (other, lang) in wordings
        ]
        translated += len(said) == 2
        wanted = np.mean([(cosine - square) / (1 - square) for cosine in said])
        assert score == pytest.approx(wanted, abs=1e-4)
    assert translated > 20
    larger = lessons_of(corpora, judge, 5, scale=4)
    assert [each.batch_size for each in larger.values()] == [128, 256, 128, 128]
    read = list(texts.index)[:3]
    indices, targets = judge.targets([read[0], "was never read", read[2]])
    assert indices == [0, 2]
    expected = vectors[[0, 2]] - SHARE * vectors.mean(axis=0)
    np.testing.assert_allclose(targets.numpy(), expected, atol=1e-6)
    assert not lessons_of(Corpora(), replace(judge, texts=Texts()), 5)
