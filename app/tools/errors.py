"""What ends a tool: a sentence for the person who started it.

ToolError          the input, the options, the files or the running service
└── RefusedError   the service refused a request, and would again
"""

import re


class ToolError(Exception):
    """The tool cannot go on; the sentence says what, where, and what to do."""


class RefusedError(ToolError):
    """An answer that asking again would not change.

    `status` is HTTP's. `index` is the input that the sentence names, if it names one.
    """

    def __init__(self, status: int, sentence: str, param: str | None) -> None:
        super().__init__(_in_options(sentence))
        self.status = status
        self._param = param
        named = re.match(r"input\[(\d+)\]", sentence)
        self.index = int(named.group(1)) if named else None

    @property
    def blames_an_input(self) -> bool:
        """Whether a text may be at fault; else it is the model, an option, the key."""
        param = self._param or "input"
        return self.status in (400, 413, 422, 500) and param.startswith("input")

    def of_one_text(self) -> str:
        """The sentence without the place of the text in its request, which nobody chose."""
        return re.sub(r"^input\[\d+\]", "the text", str(self))


def _in_options(sentence: str) -> str:
    """What HTTP's callers are told to send, as the command's options."""
    sentence = sentence.replace('"truncate": true', "--truncate")
    return sentence.replace('"late_chunking_overlap"', "--late-chunking-overlap")
