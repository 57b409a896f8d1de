"""A small folder of text in every kind that the corpora have, and a small teacher."""

import json
import lzma
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

NOUNS = ("river", "engine", "bread", "violin", "winter", "doctor", "garden", "letter")
VERBS = ("paints", "moves", "finds", "keeps", "breaks", "cleans")
TOPICS = (
    *("noun.person", "noun.animal", "noun.group", "noun.artifact", "noun.food", "noun.object"),
    *("noun.plant", "noun.body", "noun.substance", "noun.communication", "noun.location"),
    *("noun.event", "noun.state", "noun.feeling", "noun.phenomenon", "noun.possession", "noun.act"),
    *("noun.attribute", "noun.cognition", "noun.time", "adj.all", "verb.motion", "verb.contact"),
    *("verb.consumption", "verb.creation", "verb.perception", "verb.body", "verb.communication"),
    *("verb.competition", "verb.social", "verb.change", "verb.possession", "verb.cognition"),
    "verb.emotion",
)
HELD_OUT = "the doctor paints the garden at night"


def sentences(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [
        f"the {draw.choice(NOUNS)} {draw.choice(VERBS)} a {draw.choice(NOUNS)} number {at}"
        for at in range(count)
    ]


def german(text: str) -> str:
    return "".join(text.replace("the", "der").replace("number", "Nummer"))


def write_corpora(folder: Path) -> Path:
    """Translations, words, questions, labelled texts, and scored pairs for evaluation."""
    folder.mkdir()
    plain = sentences(60, 1)
    _write(folder, "ntrex", ({"en": text, "de": german(text)} for text in [HELD_OUT, *plain]))
    words = [*NOUNS, *(verb.removesuffix("s") for verb in VERBS)]
    _write(
        folder,
        "wordnet",
        (
            {"topic": topic, "words": words, "gloss": f"what {topic} is", "examples": plain[:9]}
            for topic in TOPICS
        ),
    )
    _write(
        folder,
        "questions",
        (
            {
                "lang": ("en", "de")[at % 2],
                "split": "train",
                "title": "",
                "passage": f"{text} and no other",
                "questions": [f"which {text.split()[1]} is number {at}?"],
            }
            for at, text in enumerate(sentences(50, 2))
        ),
    )
    _write(
        folder,
        "intents",
        (
            {"set": "topics", "split": "train", "text": text, "label": text.split()[1]}
            for text in sentences(80, 3)
        ),
    )
    _write(folder, "sts", [{"lang": "en", "a": HELD_OUT.upper(), "b": "x", "score": 1.0}])
    return folder


def write_teacher(folder: Path) -> Path:
    """A sentence encoder with random weights, which reads letters."""
    folder.mkdir()
    letters = "abcdefghijklmnopqrstuvwxyz0123456789?.,"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{each}" for each in letters)]
    tokenizer = Tokenizer(
        models.WordPiece(
            {token: at for at, token in enumerate(vocabulary)},
            unk_token="[UNK]",  # noqa: S106  (no password)
        )
    )
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=264,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def _write(folder: Path, name: str, rows: Iterable[dict[str, Any]]) -> None:
    with lzma.open(folder / f"{name}.jsonl.xz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
