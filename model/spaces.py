"""Spaces: which vectors may stand in one index, said by two short digests of what they depend on.

    6e6dea8f8c00.bcdc7c1bf251       FAMILY.MEMBER

- Vectors of one member are made alike: the same weights, adapter, instruction, tokenizer, pooling,
  normalisation and late chunking (or not).
- Vectors of one family may be compared with each other: those of a task, with and without late
  chunking, and those of tasks whose names agree up to a dot, which are trained together, such as
  retrieval.query and retrieval.passage. A family's digest is over all that its members have, but
  for late chunking.

What a vector depends on only within rounding (dtype, device, batch) is in neither, and nor are
names, folders, and `dimensions`: a prefix of a vector may be compared with one of another.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from model.tasks import Task, Tasks

# Goes up with a release whose vectors are "other" for the same checkpoint (CHANGELOG.md).
_COMPUTATION = 1
_SHORT_BYTES = 6
# A tokenizer is told by the ids of this text, since the same one is written in several ways (its
# file by each release of its library). It has what normalisers and splitters differ on.
_PROBE = (
    "The quick brown Fox, can't it jump over 12,345.67 lazy dogs? Größe, café/cafe\u0301, "
    "ﬁn ½ x² Ⅳ Ｆｕｌｌ\u3000width\ttab\nline\u00a0no-break\u200bzero\u00adhyphen İstanbul "
    "ΑΒΓ αβγς Съешь ещё שלום עולם السَّلام عليكم नमस्ते दुनिया สวัสดีชาวโลก 你好，世界。 "
    "こんにちは、ｶﾀｶﾅ 안녕하세요 Xin chào გამარჯობა ሰላም \U0001f44b\U0001f3fd "
    "\U0001f469\u200d\U0001f4bb <s> <mask> https://example.org/a_b?c=d#e"
)

# A vector of each span of tokens, their mean, or one of each token.
Pooling = Literal["mean", "none"]


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Digests of a checkpoint's content (fingerprint.py): of the base model, and of each task's
    adapter."""

    base: str
    adapters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Space:
    """The space of a vector."""

    family: str
    member: str

    def __str__(self) -> str:
        return f"{self.family}.{self.member}"

    def meets(self, expected: str) -> bool:
        """Whether this is what a caller expects: a family alone, or a member, whose family may have
        got another partner since."""
        return expected == self.family or (
            "." in expected and expected.rpartition(".")[2] == self.member
        )


class Spaces:
    """The spaces of one loaded model."""

    def __init__(
        self,
        fingerprint: Fingerprint,
        tasks: Tasks,
        token_ids: Callable[[str], list[int]],
    ) -> None:
        """`token_ids` tokenises a text, without special tokens."""
        self._fingerprint = fingerprint
        self._tasks = tasks
        self._token_ids = token_ids
        self._found: dict[tuple[str | None, bool, bool, Pooling], Space] = {}

    def of(
        self,
        task: Task,
        *,
        late_chunking: bool = False,
        normalized: bool = True,
        pooling: Pooling = "mean",
    ) -> Space:
        """The space of vectors of that task, made so."""
        key = task.name, late_chunking, normalized, pooling
        if key not in self._found:
            tokenizer = self._token_ids(_PROBE)
            shared = [_COMPUTATION, self._fingerprint.base, tokenizer, pooling, normalized]
            family = sorted(self._reading(each) for each in self._partners(task))
            member = [self._reading(task), late_chunking]
            self._found[key] = Space(_short(*shared, family), _short(*shared, member))
        return self._found[key]

    def _partners(self, task: Task) -> list[Task]:
        """The tasks that are trained together with this one, and itself."""
        if task.name is None:
            return [task]
        kind = task.name.partition(".")[0]
        names = [name for name in self._tasks.names if name.partition(".")[0] == kind]
        return [self._tasks.by_name(name) for name in names]

    def _reading(self, task: Task) -> list[Any]:
        """How texts of a task are read."""
        adapter = "" if task.adapter is None else self._fingerprint.adapters[task.adapter]
        return [adapter, self._token_ids(task.instruction)]


def _short(*parts: Any) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=_SHORT_BYTES).hexdigest()
