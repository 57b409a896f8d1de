"""Tasks: from the user's word to the adapter's index and the instruction in front of the text."""

from dataclasses import dataclass

from model.config import EncoderConfig
from model.quoting import quoted

# What stands for the base model where the name of a task is asked for.
NO_TASK = "none"
# The task of texts that come without one, in the service (EMBED_DEFAULT_TASK) and in Python.
DEFAULT_TASK = "text-matching"
# The task of documents that come without one, likewise.
PASSAGE_TASK = "retrieval.passage"


class UnknownTaskError(ValueError):
    """A task that the loaded model has no adapter for."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"unknown task {quoted(name)}; this model has {', '.join(known)}.")


@dataclass(frozen=True, slots=True)
class Task:
    """What a task means to the model.

    `adapter` is the index of its LoRA adapter, or None for the base weights without any.
    """

    name: str | None
    adapter: int | None
    instruction: str


class Tasks:
    """The tasks of one model, by name."""

    def __init__(self, config: EncoderConfig) -> None:
        self.names = config.tasks
        self._by_name = {
            name: Task(name, index, config.instructions[name])
            for index, name in enumerate(config.tasks)
        }

    def named(self, name: str | None) -> Task:
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

    def chosen(self, name: str) -> Task:
        """The task of that name, where `none` is the base model.

        Raises:
            UnknownTaskError: the model has no such task.
        """
        if name is None or name not in (*self.names, NO_TASK):
            raise UnknownTaskError(name, (*self.names, NO_TASK))
        return self.named(None if name == NO_TASK else name)
