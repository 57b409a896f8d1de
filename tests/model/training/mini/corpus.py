"""A small folder of text in every kind that the corpora have, and a small teacher."""

import json
import lzma
import random
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

NOUNS = ("river", "engine", "bread", "violin", "winter", "doctor", "garden", "letter")
VERBS = ("paints", "moves", "finds", "keeps", "breaks", "cleans")
HELD_OUT = "the doctor paints the garden at night"

# hidden, layers, heads, intermediate, positions
HIDDEN, LAYERS, HEADS, INTERMEDIATE, POSITIONS = 96, 3, 3, 64, 64
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789?.,N"
PIECES = [
    *("<s>", "<pad>", "</s>", "<unk>", "▁"),
    *(f"▁{word}" for word in (*NOUNS, *VERBS, "the", "der", "number", "Nummer", "a", "query", ":")),
    *_LETTERS,
    *(f"▁{letter}" for letter in _LETTERS),
    "<mask>",
]


def sentences(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [
        f"the {draw.choice(NOUNS)} {draw.choice(VERBS)} a {draw.choice(NOUNS)} number {at}"
        for at in range(count)
    ]


def german(text: str) -> str:
    return "".join(text.replace("the", "der").replace("number", "Nummer"))


def write_corpora(folder: Path) -> Path:
    """Text of each kind, of which a part is for evaluation."""
    folder.mkdir()
    plain = sentences(60, 1)
    _write(folder, "ntrex", ({"en": text, "de": german(text)} for text in [HELD_OUT, *plain]))
    _write(
        folder,
        "wordnet",
        ({"words": [word], "gloss": f"what {word} is", "examples": plain[:9]} for word in NOUNS),
    )
    _write(
        folder,
        "questions",
        (
            {
                "lang": ("en", "de")[at // 25],
                "split": "train" if at % 5 else "dev",
                "title": f"title {at // 5}",
                "passage": f"{text} and no other. {text} in the winter. " * 2,
                "questions": [f"is it true that {text}?"],
            }
            for at, text in enumerate(sentences(50, 2))
        ),
    )
    _write(
        folder,
        "intents",
        (
            {
                "set": "topics",
                "split": "train" if at % 4 else "dev",
                "text": text,
                "label": text.split()[1],
            }
            for at, text in enumerate(sentences(80, 3))
        ),
    )
    _write(folder, "sentences", ({"lang": "en", "text": text} for text in sentences(30, 4)))
    scored = zip(sentences(20, 5), sentences(20, 6), strict=True)
    _write(
        folder,
        "sts",
        [
            {"lang": "en", "a": HELD_OUT.upper(), "b": "x", "score": 1.0},
            *(
                {"lang": "en", "a": f"say {a}", "b": f"say {b}", "score": at % 5}
                for at, (a, b) in enumerate(scored)
            ),
        ],
    )
    return folder


def teacher_tensors(seed: int = 0) -> dict[str, npt.NDArray[np.float32]]:
    """Random weights, by the names of a teacher file."""
    draw = np.random.default_rng(seed)

    def matrix(rows: int, width: int, size: float = 0.2) -> npt.NDArray[np.float32]:
        return (size * draw.standard_normal((rows, width))).astype(np.float32)

    def norm(name: str) -> dict[str, npt.NDArray[np.float32]]:
        gain = 1 + 0.1 * draw.standard_normal(HIDDEN)
        return {f"{name}.w": gain.astype(np.float32), f"{name}.b": matrix(1, HIDDEN, 0.1)[0]}

    tensors = {
        "emb.word": matrix(len(PIECES), HIDDEN, 1.0),
        "emb.pos": matrix(POSITIONS, HIDDEN),
        "emb.type": matrix(2, HIDDEN),
        **norm("emb.ln"),
    }
    shapes = {
        **dict.fromkeys(("q", "k", "v", "ao"), (HIDDEN, HIDDEN)),
        "fi": (INTERMEDIATE, HIDDEN),
        "fo": (HIDDEN, INTERMEDIATE),
    }
    for layer in range(LAYERS):
        for name, shape in shapes.items():
            tensors[f"l{layer}.{name}.w"] = matrix(*shape)
            tensors[f"l{layer}.{name}.b"] = matrix(1, shape[0])[0]
        tensors |= norm(f"l{layer}.aln") | norm(f"l{layer}.oln")
    return tensors


def write_teacher(path: Path, tensors: Mapping[str, npt.NDArray[np.float32]] | None = None) -> Path:
    """A teacher file: matrices of words and blocks in Q4_0, all else in float32."""
    sizes = HIDDEN, LAYERS, HEADS, INTERMEDIATE, len(PIECES), POSITIONS, 2
    pieces = [piece.encode() for piece in PIECES]
    ends = np.cumsum([0, *map(len, pieces)]).astype("<u4")
    scores = np.array(
        [-float(len(piece) == 1) - at / 100 for at, piece in enumerate(PIECES)], "<f4"
    )
    blob = b"".join(pieces)
    head = b"E5S1" + struct.pack("<I7ifi", 1, *sizes, 1e-12, 32)
    head += struct.pack("<5iQ", len(pieces), 0, 2, 1, 3, len(blob))
    head += ends.tobytes() + scores.tobytes() + blob + struct.pack("<iI", 5, 3) + b"xyz"
    stored = {}
    for name, values in (tensors or teacher_tensors()).items():
        kind = int(values.ndim == 2 and name not in ("emb.pos", "emb.type"))
        content = _blocks(values) if kind else values.astype("<f4").tobytes()
        stored[name] = kind, values.size, content
    head += struct.pack("<i", len(stored))
    start = len(head) + sum(2 + len(name) + struct.calcsize("<BIQQ") for name in stored)
    for name, (kind, count, content) in stored.items():
        head += struct.pack("<H", len(name)) + name.encode()
        head += struct.pack("<BIQQ", kind, count, start, len(content))
        start += len(content)
    path.write_bytes(head + b"".join(content for *_, content in stored.values()))
    return path


def _blocks(values: npt.NDArray[np.float32]) -> bytes:
    """Q4_0, block by block."""
    packed = b""
    for block in values.reshape(-1, 32):
        scale = np.float16(np.abs(block).max() / 7)
        numbers = [int(np.clip(round(float(each) / float(scale)) + 8, 0, 15)) for each in block]
        packed += scale.tobytes()
        packed += bytes(numbers[at] | numbers[at + 16] << 4 for at in range(16))
    return packed


def _write(folder: Path, name: str, rows: Iterable[dict[str, Any]]) -> None:
    with lzma.open(folder / f"{name}.jsonl.xz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
