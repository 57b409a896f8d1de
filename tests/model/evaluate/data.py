"""A small folder of every kind of file that an evaluation reads."""

import json
import lzma
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_TOPICS = {
    "sea": "ship sail harbour wave anchor captain",
    "kitchen": "bread oven salt butter spoon soup",
    "sky": "star moon cloud rain comet planet",
}
_WORDS = [word for words in _TOPICS.values() for word in words.split()]


def write(path: Path, records: Iterable[Mapping[str, Any]]) -> Path:
    """Records as a JSONL file, compressed if its name says so."""
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    with (lzma.open if path.suffix == ".xz" else open)(path, "wt", encoding="utf-8") as file:
        file.write(text)
    return path


def write_all(folder: Path) -> Path:
    """pairs, questions, labels, parallel, and one file of none of these."""
    folder.mkdir(exist_ok=True)
    write(folder / "pairs.jsonl", pairs())
    write(folder / "questions.jsonl.xz", questions())
    write(folder / "labels.jsonl", labels())
    write(folder / "parallel.jsonl", parallel())
    write(folder / "glossary.jsonl", [{"en": "sea", "de": "Meer"}])
    return folder


def pairs() -> list[dict[str, Any]]:
    """Pairs in two languages; the score is how many words they share."""
    found = []
    for index, word in enumerate(_WORDS):
        other = _WORDS[(index * 7 + 3) % len(_WORDS)]
        a, b = f"the {word} and the {other}", f"a {word} with a {_WORDS[index // 2]}"
        score = len(set(a.split()) & set(b.split())) + index / 100
        found.append({"lang": "en" if index % 2 else "de", "a": a, "b": b, "score": score})
    return found


def questions() -> list[dict[str, Any]]:
    """A document of three passages for each topic, two questions a passage, and train records."""
    found: list[dict[str, Any]] = []
    for title, words in _TOPICS.items():
        for word in words.split()[:3]:
            passage = (
                f"This is about the {word}, which many people of the coast and the hills have seen "
                f"often enough to write long songs and letters home. Nobody counts a {word} twice. "
                f"The {word} was there before the others came, and in the old stories of the town "
                "it is still the first thing that anybody names."
            )
            asked = [f"What about the {word}?", f"Who counts a {word} twice?"]
            record = {"lang": "en", "title": title, "passage": passage, "questions": asked}
            found.append({**record, "split": "dev"})
    return [*found, {**found[0], "split": "train"}, {**found[0], "lang": "fr", "split": "train"}]


def labels() -> list[dict[str, Any]]:
    """Six texts of each label to fit on and six to measure."""
    return [
        {"split": split, "text": f"{before} {word} {index}", "label": label}
        for split, before in (("train", "look at the"), ("test", "bring me a"))
        for label, words in _TOPICS.items()
        for index, word in enumerate(words.split())
    ]


def parallel() -> list[dict[str, Any]]:
    """The same texts in two "languages", with topics."""
    return [
        {"split": split, "topic": label, "en": f"the {word} {split}", "de": f"das {word} {split}"}
        for split in ("train", "dev")
        for label, words in _TOPICS.items()
        for word in words.split()
    ]
