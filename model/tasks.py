"""Tasks: from the user's word to the adapter's index and the instruction in front of the text."""

from dataclasses import dataclass

from model.config import EncoderConfig
from model.wording import quoted


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
