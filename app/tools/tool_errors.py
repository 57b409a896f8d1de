"""The errors that end a tool, each with a sentence for the person who started it.

ToolError          the input, the options, the files or the running service
└── RefusedError   the service refused a request, and would again
"""

import re


class ToolError(Exception):
    """The tool cannot go on; the sentence says what, where, and what to do."""


class RefusedError(ToolError):
    """An error answer that a retry would not change.

    `status` is HTTP's. `index` is the input that the sentence names, if it names one.
    """

    def __init__(self, status: int, sentence: str, param: str | None) -> None:
        super().__init__(_as_command_options(sentence))
        self.status = status
        self._param = param
        named = re.match(r"input\[(\d+)\]", sentence)
        self.index = int(named.group(1)) if named else None

    @property
    def blames_an_input(self) -> bool:
        """Whether a text may be at fault; else it is the model, an option, the key."""
        param = self._param or "input"
        return self.status in (400, 413, 422, 500) and param.startswith("input")

    def without_index(self) -> str:
        """The sentence without the text's index in its request, which the caller did not choose."""
        return re.sub(r"^input\[\d+\]", "the text", str(self))


def _as_command_options(sentence: str) -> str:
    """The sentence with the request's fields replaced by the options of the command line."""
    sentence = sentence.replace('"truncate": true', "--truncate")
    return sentence.replace('"late_chunking_overlap"', "--late-chunking-overlap")
