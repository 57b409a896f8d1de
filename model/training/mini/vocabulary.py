"""Vocabulary: a tokenizer.json of XLM-RoBERTa's kind, learned from the corpora.

A unigram language model over pieces (https://arxiv.org/abs/1804.10959) with the special tokens
where XLM-RoBERTa has them: <s> 0, <pad> 1, </s> 2, <unk> 3, and <mask> last. Beside the pieces that
SentencePiece finds there are whole words and rare characters: a mean of word vectors knows what
"woman" means, and not what "wo" and "man" have to do with each other.
"""

import io
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import sentencepiece
import torch
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors
from tokenizers.decoders import Metaspace

from model.training.errors import TrainingError
from model.training.mini.corpora import ENGLISH, Corpora

_FIRST = ("<s>", "<pad>", "</s>", "<unk>")
_LAST = "<mask>"
# What the vocabulary is made of, as shares; words of other languages take the rest. They have too
# little text to learn many words from, and share pieces.
_PIECES, _CHARACTERS, _ENGLISH_WORDS = 0.67, 0.05, 0.24
# Sentences of each language that pieces are learned from: a language's share of the vocabulary
# shall not be its share of the text.
_MOST_ENGLISH, _MOST_OF_MUCH, _MOST_OF_LITTLE = 30_000, 8_000, 3_000
_MUCH_TEXT = 30_000
_COVERAGE = 0.9992
# Manuals repeat themselves: a word counts a quarter there.
_MANUALS, _IN_MANUALS, _ELSEWHERE = ("python-docs", "tldr", "gnome-user-docs"), 1, 4
# Languages without spaces have no words that a space begins.
_NO_SPACES = ("zh", "ja", "th")
_WORD = re.compile(r"(?<!\w)[^\W\d_]{2,16}(?!\w)")
_LEAST_OFTEN = 3 * _ELSEWHERE

Scored = list[tuple[str, float]]


def learn_vocabulary(corpora: Corpora, size: int, path: Path, seed: int) -> None:
    """Learn `size` tokens and write tokenizer.json. Case and width of letters are folded.

    Raises:
        TrainingError: the text has more different characters than fit, or too few for `size`.
    """
    normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Lowercase()]
    )
    sentences = [normalizer.normalize_str(text) for text in _balanced(corpora, Random(seed))]
    pieces = _pieces(sentences, round(size * _PIECES))
    known = {piece for piece, _ in pieces}
    pieces += _characters(sentences, known, round(size * _CHARACTERS))
    room = round(size * _ENGLISH_WORDS), size - 1 - len(pieces)  # <mask> comes behind
    pieces += _words(corpora, normalizer, known, room)
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=_FIRST.index("<unk>")))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    tokenizer.decoder = Metaspace()
    tokenizer.add_special_tokens([AddedToken(each, special=True) for each in _FIRST])
    tokenizer.add_special_tokens([AddedToken(_LAST, lstrip=True, special=True)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    tokenizer.save(str(path), pretty=False)


def _balanced(corpora: Corpora, random: Random) -> Iterator[str]:
    texts: dict[str, list[str]] = defaultdict(list)
    for _, lang, text in _texts(corpora):
        texts[lang].append(text)
    # Passages are found by the words that they share with their questions.
    asked = {passage.lang for passage in corpora.passages}
    for lang in sorted(texts):
        much = len(texts[lang]) > _MUCH_TEXT or lang in asked
        most = _MOST_OF_MUCH if much else _MOST_OF_LITTLE
        yield from _some(texts[lang], _MOST_ENGLISH if lang == ENGLISH else most, random)


def _some(texts: Sequence[str], most: int, random: Random) -> Sequence[str]:
    return texts if len(texts) <= most else random.sample(texts, most)


def _pieces(sentences: Sequence[str], count: int) -> Scored:
    """Pieces with their log probabilities, the special tokens first."""
    model = io.BytesIO()
    try:
        _train(sentences, count, model)
    except RuntimeError as error:
        raise TrainingError(
            f"{count} pieces ({_PIECES:.0%} of the vocabulary) cannot be learned from this text: "
            f"{error}"
        ) from None
    learned = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return [(learned.id_to_piece(index), learned.get_score(index)) for index in range(len(learned))]


def _train(sentences: Sequence[str], count: int, model: io.BytesIO) -> None:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        vocab_size=count,
        hard_vocab_limit=False,
        character_coverage=_COVERAGE,
        normalization_rule_name="identity",
        bos_id=0,
        pad_id=1,
        eos_id=2,
        unk_id=3,
        num_sub_iterations=2,
        shrinking_factor=0.6,
        max_sentence_length=8000,
        num_threads=torch.get_num_threads(),
        minloglevel=2,
    )


def _characters(sentences: Sequence[str], known: set[str], most: int) -> Scored:
    """Characters that no piece covers, Chinese ones above all, the frequent ones first."""
    often = Counter(character for text in sentences for character in text)
    there = sum(often.values())
    new = [each for each in often.most_common() if each[0] not in known and not each[0].isspace()]
    return [(character, math.log(count / there)) for character, count in new[:most] if count > 1]


def _words(
    corpora: Corpora, normalizer: normalizers.Normalizer, known: set[str], room: tuple[int, int]
) -> Scored:
    """Whole words: `room` is for (English, all). The root of its text is a language's share."""
    often = _often(corpora, normalizer)
    there = sum(sum(counts.values()) for counts in often.values())
    taken: dict[str, float] = {}
    for word, count in often.pop(ENGLISH, Counter()).most_common():
        if len(taken) == room[0] or count < _LEAST_OFTEN:
            break
        if f"▁{word}" not in known:
            taken[word] = count
    candidates = []
    for lang, counts in often.items():
        share, rank = math.sqrt(sum(counts.values())), 0
        for word, count in counts.most_common(room[1]):
            if count >= _LEAST_OFTEN and f"▁{word}" not in known and word not in taken:
                candidates.append((rank / share, lang, word, count))
                rank += 1
    for _, _, word, count in sorted(candidates):
        if len(taken) == room[1]:
            break
        taken.setdefault(word, count)
    return [(f"▁{word}", math.log(count / there)) for word, count in taken.items()]


def _often(corpora: Corpora, normalizer: normalizers.Normalizer) -> dict[str, Counter[str]]:
    """How often each language has each word: once a text, weighted."""
    often: dict[str, Counter[str]] = defaultdict(Counter)
    for source, lang, text in _texts(corpora):
        if lang not in _NO_SPACES:
            count = _IN_MANUALS if source in _MANUALS else _ELSEWHERE
            for word in set(_WORD.findall(normalizer.normalize_str(text))):
                often[lang][word] += count
    return often


def _texts(corpora: Corpora) -> Iterator[tuple[str, str, str]]:
    """Source, language and text, without the dictionary's list of words."""
    for item in corpora.items:
        if item.source != "word":
            yield item.source, item.lang, item.text
    for passage in corpora.passages:
        for text in (passage.text, *passage.questions):
            yield "questions", passage.lang, text
