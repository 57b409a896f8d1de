"""Small files to learn from: texts of a few words, of which one says what the text is about."""

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from app.__main__ import main

TOPICS = ("river", "engine", "bread", "violin", "winter", "doctor")
WORDS = ("the", "we", "had", "seen", "two", "new", "old", "good", "small", "last", "next", "here")


def texts_about(topic: str, count: int, seed: int) -> list[str]:
    """Different texts with that word."""
    draw = random.Random(f"{topic} {seed}")
    return [" ".join([*draw.sample(WORDS, 5), topic, str(number)]) for number in range(count)]


def labelled(count: int = 20, seed: int = 0) -> list[dict[str, Any]]:
    return [
        {"text": text, "label": topic}
        for topic in TOPICS
        for text in texts_about(topic, count, seed)
    ]


def pairs(count: int = 20) -> list[dict[str, Any]]:
    return [
        {"anchor": first, "positive": second}
        for topic in TOPICS
        for first, second in zip(
            texts_about(topic, count, 1), texts_about(topic, count, 2), strict=True
        )
    ]


def scored(count: int = 30) -> list[dict[str, Any]]:
    draw = random.Random(5)
    topics = [draw.choices(TOPICS[:3], k=2) for _ in range(count * len(TOPICS))]
    return [
        {
            "a": texts_about(first, 1, number)[0],
            "b": texts_about(second, 1, -number - 1)[0],
            "score": 5 if first == second else 0.5,
        }
        for number, (first, second) in enumerate(topics)
    ]


def write(path: Path, records: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def train_adapter(*options: object) -> int:
    """Run the command here; its exit status."""
    return train("adapter", *options)


def train(*arguments: object) -> int:
    """`quintet train` in this process; its exit status."""
    return main(["train", *map(str, arguments)])


def log_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "training" / "log.jsonl").read_text().splitlines()]
