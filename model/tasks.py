"""Tasks: a task's name -> the index of its LoRA adapter, and the instruction before the text."""

from dataclasses import dataclass

from model.config import NO_TASK, EncoderConfig
from model.quoting import quoted

# Defaults of the service and of Python: for texts (EMBED_DEFAULT_TASK), and for documents.
DEFAULT_TASK = "text-matching"
PASSAGE_TASK = "retrieval.passage"
# jina-embeddings-v5 calls this task clustering.
SEPARATION, CLUSTERING = "separation", "clustering"


class UnknownTaskError(ValueError):
    """A task that the loaded model has no adapter for."""

    def __init__(self, name: str, names: tuple[str, ...]) -> None:
        super().__init__(f"unknown task {quoted(name)}; this model has {', '.join(names)}.")


@dataclass(frozen=True, slots=True)
class Task:
    """A task's name, the index of its LoRA adapter, and its instruction.

    `adapter` is None for the base weights without an adapter; `name` is then None, too.
    """

    name: str | None
    adapter: int | None
    instruction: str


class Tasks:
    """The tasks of one model, by name. `clustering` is another name of `separation`, unless the
    model has a task of that name."""

    def __init__(self, config: EncoderConfig) -> None:
        self.names = config.tasks
        self._by_name = {
            name: Task(name, index, config.instructions[name])
            for index, name in enumerate(config.tasks)
        }
        if SEPARATION in self._by_name:
            self._by_name.setdefault(CLUSTERING, self._by_name[SEPARATION])

    def by_name(self, name: str | None) -> Task:
        """The task of that name; None is the base model, with no adapter and no instruction.

        Raises:
            UnknownTaskError: the model has no such task.
        """
        if name is None:
            return Task(None, None, "")
        try:
            return self._by_name[name]
        except KeyError:
            raise UnknownTaskError(name, self.names) from None

    def by_argument(self, name: str) -> Task:
        """The task of an argument that must name one, where `none` is the base model.

        Raises:
            UnknownTaskError: the model has no such task.
        """
        if name is None or name not in (*self._by_name, NO_TASK):
            raise UnknownTaskError(name, (*self.names, NO_TASK))
        return self.by_name(None if name == NO_TASK else name)
