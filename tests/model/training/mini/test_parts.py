"""The parts that the embedded model is made of, each against something slow and obvious."""

import json
import lzma
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from model import embedder
from model.training import weights
from model.training.base import base_of
from model.training.errors import TrainingError
from model.training.export import write_original
from model.training.mini.architecture import (
    CONSTANTS,
    SHAPE,
    TASKS,
    encoder_of,
    fields_of,
    normed,
)
from model.training.mini.cloze import cloze_passages
from model.training.mini.corpora import Corpora, read_corpora
from model.training.mini.material import Draw, Material, english_texts
from model.training.mini.phrases import make_phrases
from model.training.mini.table import OF_QUESTIONS, Table, principal
from model.training.mini.vocabulary import learn_vocabulary
from model.training.trainable_encoder import TrainableEncoder
from tests.model.training.mini.corpus import HELD_OUT, german, write_corpora

VOCABULARY = 600


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Corpora:
    return read_corpora(write_corpora(tmp_path_factory.mktemp("text") / "corpora"))


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory, corpora: Corpora) -> Path:
    path = tmp_path_factory.mktemp("vocabulary") / "tokenizer.json"
    learn_vocabulary(corpora, VOCABULARY, path, seed=0)
    return path


@pytest.fixture(scope="module")
def material(corpora: Corpora, pieces: Path) -> Material:
    english = english_texts(corpora.items)
    random = np.random.default_rng(0)
    teacher = random.standard_normal((len(english), 300)).astype(np.float16)
    targets = principal(teacher, 256 - CONSTANTS)
    tokenizer = Tokenizer.from_file(str(pieces))
    return Material(
        corpora, tokenizer, english, (targets, teacher), Draw(12, 5, ("find: ", "say: "))
    )


@pytest.mark.parametrize(("dtype", "cosine"), [("float32", 0.99999), ("bfloat16", 0.9995)])
def test_a_table_in_the_encoder_is_the_mean_of_its_words(
    tmp_path: Path, pieces: Path, dtype: str, cosine: float
) -> None:
    words = torch.randn(VOCABULARY, 256 - CONSTANTS) * 0.3
    fields = fields_of({**SHAPE, "vocab_size": VOCABULARY}, TASKS)
    base = encoder_of(words, fields, seed=1)
    encoder = TrainableEncoder(base_of(base), base.config)
    torch.manual_seed(0)
    adapters = {}
    for task in base.config.tasks:
        encoder.add(task)
        adapters[task] = encoder.adapter(task)
    write_original(tmp_path, weights.Weights(fields, base.base, adapters), pieces)
    made = embedder.load(tmp_path, "cpu", dtype)
    texts = ["the river keeps a letter", "bread", "a violin number 7 breaks the winter"]
    ids = [[0, *made.tokenizer.ids([text])[0].tolist(), 2] for text in texts]
    rows = normed(words)[:, :-CONSTANTS]
    means = torch.stack([rows[own].mean(dim=0) for own in ids])
    expected = torch.nn.functional.normalize(means, dim=1).numpy()
    alone = made.embed_texts(texts, "none")
    assert (alone[:, :-CONSTANTS] * expected).sum(axis=1).min() > cosine
    assert not alone[:, -CONSTANTS:].any()
    # Read as one document, each text gets a share of the mean of all.
    late = made.embed_texts(texts, "none", late_chunking=True)[:, :-CONSTANTS]
    parts = [[0, *ids[0][1:-1]], ids[1][1:-1], [*ids[2][1:-1], 2]]
    document = rows[[*chain.from_iterable(parts)]].mean(dim=0)
    shared = torch.stack([rows[own].mean(dim=0) + 0.35 * document for own in parts])
    expected = torch.nn.functional.normalize(shared, dim=1).numpy()
    assert (late * expected).sum(axis=1).min() > 0.995
    assert (late * alone[:, :-CONSTANTS]).sum(axis=1).max() < 0.99


def test_the_tables_loss_is_what_it_says(material: Material) -> None:
    """Written out text by text."""
    batch = material.batch([3])
    table = Table(VOCABULARY, (32, 256), seed=4)
    rows = normed(table.words.detach())[:, :-CONSTANTS].double()

    def vectors(bags, size):
        ends = [*bags.starts.tolist()[1:], len(bags.ids)]
        for start, end in zip(bags.starts.tolist(), ends, strict=True):
            mean = rows[bags.ids[start:end]].mean(dim=0)[:size]
            yield mean / mean.norm()

    expected = 0.0
    for size, weight in ((32, 0.5), (254, 1.0)):
        own = list(vectors(batch.texts, size))
        for one, (whole, teacher) in enumerate(zip(batch.targets, batch.teacher, strict=True)):
            target = whole[:size].double()
            cosine = own[one] @ target / target.norm()
            wanted = torch.tensor([teacher @ other for other in batch.teacher]).double() / 0.05
            found = torch.stack([own[one] @ other for other in own]) / 0.05
            crossed = -(wanted.softmax(0) * found.log_softmax(0)).sum()
            expected += weight * (4 * (1 - cosine) + 0.5 * crossed) / len(own)
        asked, answers = list(vectors(batch.questions, size)), list(vectors(batch.passages, size))
        cosines = torch.stack([torch.stack([q @ p for p in answers]) for q in asked]) / 0.05
        for one, answer in enumerate(batch.answers):
            others = [at for at, each in enumerate(batch.answers) if at == one or each != answer]
            for row in (cosines[one], cosines[:, one]):
                found = row[one].sub(row[others].logsumexp(0)) / (2 * len(asked))
                expected -= OF_QUESTIONS * weight * found
    assert table(batch).item() == pytest.approx(float(expected), rel=1e-4)


def test_batches_are_a_function_of_their_seed(material: Material) -> None:
    first, again, other = (material.batch(seed) for seed in ([0, 1], [0, 1], [0, 2]))
    assert torch.equal(first.texts.ids, again.texts.ids)
    assert torch.equal(first.answers, again.answers)
    assert not torch.equal(first.targets, other.targets)
    for bags in (first.texts, first.questions, first.passages):
        ends = [*(bags.starts[1:] - 1).tolist(), len(bags.ids) - 1]
        assert {int(bags.ids[start]) for start in bags.starts} == {0}
        assert {int(bags.ids[end]) for end in ends} == {2}


def test_questions_of_a_batch_are_in_one_language_and_behind_their_instruction(
    corpora: Corpora, material: Material, pieces: Path
) -> None:
    (said,) = Tokenizer.from_file(str(pieces)).encode("find:", add_special_tokens=False).ids[:1]
    langs, instructed = set(), []
    for number in range(40):
        batch = material.batch([7, number])
        (lang,) = {corpora.passages[answer].lang for answer in batch.answers}
        langs.add(lang)
        bags = batch.questions.ids.tensor_split(batch.questions.starts[1:])
        instructed += [said in bag for bag in bags]
    assert langs == {passage.lang for passage in corpora.passages}
    assert np.mean(instructed) > 0.7  # a fifth of all pieces is left out


def test_what_is_held_out_is_never_trained_on(corpora: Corpora) -> None:
    """Neither the text itself, in other letters, nor its translation."""
    texts = {item.text for item in corpora.items}
    assert HELD_OUT not in texts
    assert german(HELD_OUT) not in texts
    assert len([item for item in corpora.items if item.source == "ntrex"]) == 120
    assert set(corpora.labelled) == {"intents"} or set(corpora.labelled) == {"topics"}


def test_a_line_that_is_not_understood_is_named(tmp_path: Path) -> None:
    with lzma.open(tmp_path / "odd.jsonl.xz", "wt") as file:
        file.write(json.dumps({"en": "fine"}) + "\n[1]\n")
    with pytest.raises(TrainingError, match=r"odd.jsonl.xz, line 2: must be an object"):
        read_corpora(tmp_path)


def test_the_vocabulary_is_of_xlm_robertas_kind_and_has_whole_words(pieces: Path) -> None:
    tokenizer = Tokenizer.from_file(str(pieces))
    assert [tokenizer.token_to_id(each) for each in ("<s>", "<pad>", "</s>", "<unk>")] == [
        *range(4)
    ]
    assert tokenizer.token_to_id("<mask>") == tokenizer.get_vocab_size() - 1 < VOCABULARY
    assert tokenizer.encode("The  RIVER paints").tokens == [
        *("<s>", "▁the", "▁river", "▁paints", "</s>")
    ]


def test_phrases_are_sentences_of_the_corpora_s_words(corpora: Corpora) -> None:
    phrases = make_phrases(corpora, 40, seed=1)
    assert phrases == make_phrases(corpora, 40, seed=1) != make_phrases(corpora, 40, seed=2)
    assert 30 < len(phrases) <= 40
    assert not make_phrases(Corpora(), 40, seed=1)


def test_a_cloze_passage_is_what_stood_around_its_sentence(corpora: Corpora) -> None:
    sentences = [
        item.text for item in corpora.items if item.source == "ntrex" and item.lang == "en"
    ]
    passages = [each for each in cloze_passages(corpora, 0) if each.lang == "en"]
    assert len(passages) == len(sentences) == 60
    for passage in passages:
        at = sentences.index(passage.questions[0])
        assert passage.text == " ".join(sentences[max(0, at - 3) : at] + sentences[at + 1 : at + 4])
