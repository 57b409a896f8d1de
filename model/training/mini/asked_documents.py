"""Questions about documents, which are read as in late chunking: a passage is found by its best
chunk.

    L = -mean over questions i of log(e[i, a(i)] / sum over passages p of e[i, p])
    e[i, p] = exp(max over chunks c of p of cos(question i, chunk c) / temperature)

a(i) is the passage that answers question i; L is summed over the Matryoshka sizes.

Q questions and P passages of a batch, S chunks of them all, D hidden.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor

from model.tasks import Tasks
from model.tokenizer import RowOptions, Tokenizer
from model.training.data import Examples
from model.training.losses import matryoshka
from model.training.mini.corpora import Corpora
from model.training.mini.healing import attention_of
from model.training.mini.texts import Texts
from model.training.objective import LossConfig, Objective, SideTasks, Targets, distance_to
from model.training.trainable_encoder import TrainableEncoder
from model.training.trainer import Batches

# Passages of a document, some 1,000 tokens; and documents of a batch.
_PASSAGES, _DOCUMENTS = 6, 3
_QUESTIONS = 2
_LATE = RowOptions(late_chunking=True)
# Languages of few questions come more often.
TIMES: Mapping[str, int] = {"ar": 6, "fr": 2}


@dataclass(frozen=True, slots=True)
class AskedPassage:
    """A passage, its chunks, and questions that it answers."""

    text: str
    chunks: tuple[str, ...]
    questions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AskedDocument:
    """Passages that follow each other."""

    lang: str
    passages: tuple[AskedPassage, ...]


def asked_documents(corpora: Corpora, texts: Texts, random: Random) -> list[AskedDocument]:
    """The documents of passages that have questions."""
    every = list(texts.index)
    asked = {each.text: each.questions for each in corpora.passages}
    documents = []
    for document in texts.documents:
        passages = [
            AskedPassage(
                every[whole],
                tuple(every[at] for at in segments),
                tuple(random.sample(questions, min(_QUESTIONS, len(questions)))),
            )
            for whole, segments in document
            if segments and whole is not None and (questions := asked.get(every[whole]))
        ]
        for start in range(0, len(passages), _PASSAGES):
            some = tuple(passages[start : start + _PASSAGES])
            documents.append(AskedDocument(texts.langs[texts.index[some[0].text]], some))
    return documents


# Documents in one language.
DocumentBatch = tuple[AskedDocument, ...]


def document_batches(
    documents: Sequence[AskedDocument], held_out: Set[str], random: Random
) -> list[DocumentBatch]:
    """Batches of those documents that have none of the passages `held_out`, in any order."""
    by_lang: dict[str, list[AskedDocument]] = defaultdict(list)
    for each in documents:
        if held_out.isdisjoint(passage.text for passage in each.passages):
            by_lang[each.lang].append(each)
    made: list[DocumentBatch] = []
    for lang, some in by_lang.items():
        for _ in range(TIMES.get(lang, 1)):
            random.shuffle(some)
            starts = range(0, len(some), _DOCUMENTS)
            made += [tuple(some[start : start + _DOCUMENTS]) for start in starts]
    random.shuffle(made)
    return made


class MixedBatches:
    """Batches of documents and, every fourth one, of texts, pass after pass."""

    def __init__(self, texts: Batches, documents: Sequence[DocumentBatch]) -> None:
        self._texts, self._documents = texts, documents

    def batch(self, number: int) -> Examples | DocumentBatch:
        """Batch 0, 1, ..."""
        at, place = divmod(number, 4)
        if place < 3:
            return self._documents[(3 * at + place) % len(self._documents)]
        texts: Examples = self._texts.batch(at)
        return texts


class DocumentObjective(Objective):
    """L above and the distance to the targets, of a batch of documents; a chunk's target is the
    mean of its own and its passage's. The loss of a batch of texts is Objective's."""

    def __init__(  # noqa: PLR0913
        self,
        encoder: TrainableEncoder,
        tokenizer: tuple[Tokenizer, Tasks],
        sides: SideTasks,
        config: LossConfig,
        targets: Targets,
        whole: Tokenizer,
    ) -> None:
        """`tokenizer` may cut texts, `whole` reads documents and their questions to the end."""
        super().__init__(encoder, tokenizer, sides, config, targets)
        self._whole = whole

    def forward(self, batch: Examples | DocumentBatch) -> Tensor:
        """The loss, a scalar."""
        if isinstance(batch, Examples):
            return super().forward(batch)
        passages = [passage for document in batch for passage in document.passages]
        questions = [text for passage in passages for text in passage.questions]
        chunks = [chunk for each in passages for chunk in each.chunks]
        answers = [at for at, passage in enumerate(passages) for _ in passage.questions]
        owners = [at for at, passage in enumerate(passages) for _ in passage.chunks]
        of_each = [[chunk for each in one.passages for chunk in each.chunks] for one in batch]
        query = self._tasks.by_name(self._sides.first)
        passage = self._tasks.by_name(self._sides.second)
        documents = [self._whole.rows(texts, passage, _LATE).rows[0] for texts in of_each]
        of_questions = self.encoder(self._whole.rows(questions, query).rows, query.name)
        base = self.encoder.base
        before = base.config._attn_implementation
        base.set_attn_implementation(attention_of(max(map(len, documents)), base.device))
        of_chunks = self.encoder(documents, passage.name)
        base.set_attn_implementation(before)
        # The differences between cosines are too small for bfloat16.
        with torch.autocast(of_chunks.device.type, enabled=False):
            loss = matryoshka(passage_loss, self._sizes)(
                of_questions,
                of_chunks,
                owners=torch.tensor(owners, device=of_chunks.device),
                answers=torch.tensor(answers, device=of_chunks.device),
                temperature=self._config.temperature,
            )
            around = [passages[at].text for at in owners]
            distance = distance_to(self._targets, questions, of_questions) + distance_to(
                lambda texts: _means(self._targets, texts, around), chunks, of_chunks
            )
            return loss + self._config.target_weight * distance / 2


def passage_loss(
    questions: Tensor, chunks: Tensor, *, owners: Tensor, answers: Tensor, temperature: float
) -> Tensor:
    """L above of questions (Q, D), which the passages `answers` (Q,) answer, and chunks (S, D) of
    the passages `owners` (S,)."""
    cosines = F.normalize(questions, dim=1) @ F.normalize(chunks, dim=1).T / temperature
    best = cosines.new_full((len(questions), int(owners.max()) + 1), -torch.inf)
    best = best.scatter_reduce(1, owners.expand_as(cosines), cosines, "amax")
    return F.cross_entropy(best, answers)


def _means(
    targets: Targets, texts: Sequence[str], others: Sequence[str]
) -> tuple[list[int], Tensor]:
    """The means of the targets of texts and others, where both have one."""
    mine, theirs = (dict(zip(*targets(each), strict=True)) for each in (texts, others))
    both = sorted(mine.keys() & theirs.keys())
    means = [(mine[at] + theirs[at]) / 2 for at in both]
    return both, torch.stack(means) if means else torch.empty(0)
