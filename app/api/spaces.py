"""The embedding spaces of the served model, and what a caller expects of them."""

from dataclasses import dataclass

from app.access.budget import Budget
from app.engine.client import EngineClient
from app.errors import SpaceMismatchError
from model.config import NO_TASK
from model.spaces import Fingerprint, Pooling, Space, Spaces
from model.tasks import Task, Tasks
from model.tokenizer import Tokenizer


@dataclass(slots=True)
class Call:
    """What a request brings beside its body: the caller's budget, and the space that it expects the
    vectors to be in, if any. `flex` is its lane, once its body is read."""

    budget: Budget
    expected_space: str | None = None
    flex: bool = False

    def check(self, space: Space) -> None:
        """
        Raises:
            SpaceMismatchError: the vectors would be in another space.
        """
        if self.expected_space is not None and not space.meets(self.expected_space):
            raise SpaceMismatchError(self.expected_space, str(space))


class ServedSpaces:
    """The spaces of the checkpoint that workers have loaded."""

    def __init__(self, engine: EngineClient, tasks: Tasks, tokenizer: Tokenizer) -> None:
        self._engine, self._tasks, self._tokenizer = engine, tasks, tokenizer
        self._fingerprint: Fingerprint | None = None

    def of(
        self,
        task: Task,
        *,
        late_chunking: bool = False,
        normalized: bool = True,
        pooling: Pooling = "mean",
    ) -> Space:
        """The space of such vectors.

        Raises:
            NotReadyError: no worker has loaded the checkpoint yet.
        """
        if (fingerprint := self._engine.fingerprint) is not self._fingerprint:
            self._spaces = Spaces(fingerprint, self._tasks, self._token_ids)
            self._fingerprint = fingerprint
        return self._spaces.of(
            task, late_chunking=late_chunking, normalized=normalized, pooling=pooling
        )

    def by_task(self) -> dict[str, str]:
        """The space of each task, for vectors of length 1 without late chunking, and of the base
        model; raises what `of` does."""
        named = [*self._tasks.names, NO_TASK]
        return {name: str(self.of(self._tasks.by_argument(name))) for name in named}

    def listed(self) -> dict[str, str] | None:
        """The same; None where no worker has loaded the checkpoint yet."""
        return self.by_task() if self._engine.has_been_ready else None

    def _token_ids(self, text: str) -> list[int]:
        return [int(token) for token in self._tokenizer.ids([text])[0]]
