"""Questions about documents: which batches there are, and what the loss of one is."""

from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from model import embedder
from model.tasks import Tasks
from model.tokenizer import RowOptions, Tokenizer
from model.training import weights
from model.training.adapter_setup import PASSAGE, QUERY
from model.training.data import TRIPLES, Examples
from model.training.mini.asked_documents import (
    TIMES,
    AskedDocument,
    AskedPassage,
    DocumentObjective,
    MixedBatches,
    asked_documents,
    document_batches,
)
from model.training.mini.corpora import Corpora, Passage
from model.training.mini.texts import texts_of
from model.training.objective import LossConfig, SideTasks
from model.training.trainable_encoder import TrainableEncoder
from tests.checkpoints import Shape


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def document(lang: str, number: int) -> AskedDocument:
    text = f"{lang} {number}"
    return AskedDocument(lang, (AskedPassage(text, (text,), (f"what is {text}?",)),))


def test_documents_are_passages_in_order_with_what_asks_for_them(corpora: Corpora) -> None:
    texts = texts_of(corpora, seed=0)
    documents = asked_documents(corpora, texts, Random(3))
    passages = [passage.text for document in documents for passage in document.passages]
    assert passages == [passage.text for passage in corpora.passages]
    by_text: dict[str, Passage] = {passage.text: passage for passage in corpora.passages}
    for each in documents:
        assert {by_text[passage.text].lang for passage in each.passages} == {each.lang}
        assert len({by_text[passage.text].title for passage in each.passages}) == 1
        for passage in each.passages:
            assert " ".join(passage.chunks) == " ".join(passage.text.split())
            assert set(passage.questions) <= set(by_text[passage.text].questions)


def test_batches_are_of_one_language_and_have_nothing_held_out() -> None:
    counts = {"ja": 20, "ar": 2, "fr": 5}
    documents = [document(lang, at) for lang, count in counts.items() for at in range(count)]
    held_out = {"ja 3", "ar 1", "xx"}
    batches = document_batches(documents, held_out, Random(0))
    assert batches == document_batches(documents, held_out, Random(0))
    assert batches != document_batches(documents, held_out, Random(1))
    assert all(len({each.lang for each in batch}) == 1 for batch in batches)
    learned = [each.passages[0].text for batch in batches for each in batch]
    for lang, count in counts.items():
        for at in range(count):
            times = 0 if f"{lang} {at}" in held_out else TIMES.get(lang, 1)
            assert learned.count(f"{lang} {at}") == times


def test_texts_and_documents_are_learned_from_in_turn() -> None:
    class Texts:
        def batch(self, number: int) -> Examples:
            return Examples(TRIPLES, ((str(number),),))

    documents = [(document("ja", at),) for at in range(2)]
    batches = MixedBatches(Texts(), documents)
    texts = [Texts().batch(at) for at in range(2)]
    assert [batches.batch(at) for at in range(8)] == [
        *(documents[0], documents[1], documents[0], texts[0]),
        *(documents[1], documents[0], documents[1], texts[1]),
    ]


def test_the_loss_is_that_of_the_best_chunk_of_each_passage(original: Path) -> None:
    random = np.random.default_rng()
    words = [f"w{number}" for number in random.integers(1000, size=200)]
    say = [" ".join(random.choice(words, 12)) for _ in range(12)]
    batch = (
        AskedDocument(
            "en",
            (
                AskedPassage("p0", (say[0], say[1], say[2]), (say[3], say[4])),
                AskedPassage("p1", (say[5],), (say[6],)),
            ),
        ),
        AskedDocument("en", (AskedPassage("p2", (say[7], say[8]), (say[9],)),)),
    )
    width, temperature, weight = Shape().width, 0.1, 3.0
    targets = {text: torch.randn(width) for text in (*say[:9], "p0", "p1")}  # "p2" has none

    def known(texts: list[str]) -> tuple[list[int], torch.Tensor]:
        having = [index for index, text in enumerate(texts) if text in targets]
        return having, torch.stack([targets[texts[index]] for index in having])

    encoder = TrainableEncoder.from_weights(weights.read(original), [QUERY, PASSAGE])
    tokenizer = Tokenizer(original, encoder.config), Tasks(encoder.config)
    sides, config = SideTasks(QUERY, PASSAGE), LossConfig(temperature, target_weight=weight)
    objective = DocumentObjective(encoder, tokenizer, sides, config, known, tokenizer[0])
    loss = objective(batch).item()

    quintet = embedder.load(original, "cpu", "float32")
    late = RowOptions(late_chunking=True)
    vectors: list[list[np.ndarray]] = []
    for each in batch:
        chunks = [chunk for passage in each.passages for chunk in passage.chunks]
        task = quintet.tasks.by_name(PASSAGE)
        found = iter(quintet.embed(quintet.tokenizer.rows(chunks, task, late).rows))
        vectors += [[next(found) for _ in passage.chunks] for passage in each.passages]
    asked = [(say[3], 0), (say[4], 0), (say[6], 1), (say[9], 2)]
    questions = [quintet.embed_texts([text], QUERY)[0] for text, _ in asked]
    expected = 0.0
    for size in encoder.config.matryoshka_dimensions:
        for question, (_, answer) in zip(questions, asked, strict=True):
            scores = [
                max(unit(question[:size]) @ unit(chunk[:size]) for chunk in chunks) / temperature
                for chunks in vectors
            ]
            expected += (np.log(np.exp(scores).sum()) - scores[answer]) / len(asked)
    passages = [passage for each in batch for passage in each.passages]
    pairs = [
        (vector, (targets[chunk] + targets[passage.text]).numpy())
        for passage, chunks in zip(passages, vectors, strict=True)
        for chunk, vector in zip(passage.chunks, chunks, strict=True)
        if passage.text in targets
    ]
    away = [1 - unit(vector) @ unit(target) for vector, target in pairs]
    held = [
        (q, targets[text].numpy())
        for q, (text, _) in zip(questions, asked, strict=True)
        if text in targets
    ]
    away_questions = [1 - unit(vector) @ unit(target) for vector, target in held]
    expected += weight * (np.mean(away) + np.mean(away_questions)) / 2
    assert loss == pytest.approx(expected, rel=1e-3)
