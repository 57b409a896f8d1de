"""Vocabulary: the teacher's pieces that the corpora use, as a tokenizer.json of XLM-R's kind.

The pieces keep the scores of their unigram model (https://arxiv.org/abs/1804.10959), so a word that
is no piece any more is cut into others. The special tokens stand where XLM-RoBERTa has them:
<s> 0, <pad> 1, </s> 2, <unk> 3, and <mask> last.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from sentencepiece import SentencePieceNormalizer
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors
from tokenizers.decoders import Metaspace

Pieces = Sequence[tuple[str, float]]

_FIRST = ("<s>", "<pad>", "</s>", "<unk>")
_LAST = "<mask>"
# Texts that are encoded in one call.
_CALL = 20_000
# A language's weight is this power of its text, times _MAIN for those that most people read.
_BALANCE, _MAIN = 0.25, 12
_MAIN_LANGUAGES = (
    *("ar", "cs", "de", "el", "en", "es", "fa", "fr", "he", "hi", "id", "it", "ja"),
    *("ko", "nl", "pl", "pt", "ro", "ru", "sv", "th", "tr", "uk", "vi", "zh"),
)
# The share of a language's characters that are kept whatever they are worth, so that each word can
# be cut into pieces that are left.
_COVERED = 0.9995
# Chinese characters that are kept by the pieces' own scores: so little text has not all usual ones.
_IDEOGRAPHS = 6000
# The weight of what the pieces' own scores say, learned from text in 100 languages, beside what
# the corpora use.
_GENERAL = 0.02
# Scores are rounded to so many decimals: what is more makes a file larger and no word other.
_DECIMALS = 5


def tokenizer_of(pieces: Pieces) -> Tokenizer:
    """The tokenizer with these pieces, the special tokens among them, and their scores."""
    scored = [(piece, round(score, _DECIMALS)) for piece, score in pieces]
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=_FIRST.index("<unk>")))
    tokenizer.normalizer = normalizers.Precompiled(_normalisation())
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
    return tokenizer


def _normalisation() -> bytes:
    """XLM-RoBERTa's, which is a rule of SentencePiece's: `normalizer_spec.precompiled_charsmap` in
    https://github.com/google/sentencepiece/blob/v0.2.0/src/sentencepiece_model.proto
    """
    of_rule = SentencePieceNormalizer(rule_name="nmt_nfkc").serialized_model_proto()
    return _field(_field(of_rule, 3), 2)


def _field(message: bytes, number: int) -> bytes:
    """The content of a field of bytes: https://protobuf.dev/programming-guides/encoding"""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        tag, size = varint(), varint()  # of a number its value is where a size is of bytes
        if tag & 7:
            if tag >> 3 == number:
                return message[at : at + size]
            at += size
    raise AssertionError(f"SentencePiece says a field {number}")


def chosen_pieces(pieces: Pieces, counts: Mapping[str, Counter[int]], size: int) -> list[int]:
    """The indices of the `size` pieces to keep, ascending: the special ones, the languages' usual
    characters, and others by how often each language has them."""
    worth = [_GENERAL * math.exp(score) for _, score in pieces]
    shares = {
        lang: sum(each.values()) ** _BALANCE * (_MAIN if lang in _MAIN_LANGUAGES else 1)
        for lang, each in counts.items()
    }
    whole = sum(shares.values())
    for lang, each in counts.items():
        there = sum(each.values())
        for piece, count in each.items():
            worth[piece] += shares[lang] / whole * count / there
    kept = {*range(len(_FIRST)), len(pieces) - 1, *_characters(pieces, counts)}
    kept |= {*_ideographs(pieces)[:_IDEOGRAPHS]}
    others = sorted(set(range(len(pieces))) - kept, key=lambda at: (-worth[at], at))
    return sorted([*kept, *others[: max(0, size - len(kept))]])


def _ideographs(pieces: Pieces) -> list[int]:
    """The indices of single ideographs (https://www.unicode.org/charts/PDF/U4E00.pdf), the most
    likely one first."""
    found = [
        at for at, (piece, _) in enumerate(pieces) if len(piece) == 1 and "一" <= piece <= "鿿"
    ]
    return sorted(found, key=lambda at: -pieces[at][1])


def _characters(pieces: Pieces, counts: Mapping[str, Counter[int]]) -> Iterator[int]:
    """The indices of the characters that nearly all of each language's text is made of."""
    index = {piece: at for at, (piece, _) in enumerate(pieces)}
    for each in counts.values():
        characters: Counter[str] = Counter()
        for piece, count in each.items():
            for character in pieces[piece][0]:
                characters[character] += count
        left = _COVERED * characters.total()
        for character, count in sorted(characters.items(), key=lambda item: (-item[1], item[0])):
            if left > 0 and character in index:
                yield index[character]
            left -= count


def count_pieces(
    tokenizer: Tokenizer, texts: Iterable[str], langs: Iterable[str]
) -> dict[str, Counter[int]]:
    """How often each language uses each piece."""
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    encoded = encode(tokenizer, list(texts), special_tokens=False)
    for lang, ids in zip(langs, encoded, strict=True):
        counts[lang].update(ids)
    return counts


def encode(
    tokenizer: Tokenizer, texts: Sequence[str], *, special_tokens: bool
) -> Iterator[list[int]]:
    """The ids of each text; the tokenizer's own outcome of all texts would take gigabytes."""
    for start in range(0, len(texts), _CALL):
        some = list(texts[start : start + _CALL])
        for each in tokenizer.encode_batch_fast(some, add_special_tokens=special_tokens):
            yield each.ids
