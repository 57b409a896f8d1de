"""What is asked of a corpus: how its files are read, and what its vectors are made of."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ChunkOptions:
    """How documents are cut: the arguments of `embed_documents`. `text`: chunks are written out."""

    by: str
    max_tokens: int
    min_tokens: int
    overlap: int
    text: bool = True


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Which checkpoint computes, and how; what is in here changes vectors by rounding at most, but
    for `model` and `revision`, which their embedding space tells apart."""

    model: str
    revision: str | None = None
    dtype: str = "auto"
    max_batch_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of the columns with the texts and with their ids. Without `id` that is "id", where
    a row has one, and else the file's name and the row's number."""

    text: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class CorpusOptions:
    """Which columns are read, and what becomes of a text. `chunks` None is a vector a text."""

    columns: Columns
    task: str
    dimensions: int | None
    truncate: bool
    chunks: ChunkOptions | None

    def identity(self) -> dict[str, Any]:
        """What must be the same for all vectors of a folder, by the names of the options."""
        sizes = {} if self.chunks is None else asdict(self.chunks)
        return {
            "--column": self.columns.text,
            "--id-column": self.columns.id,
            "--task": self.task,
            "--dimensions": self.dimensions,
            "--truncate": self.truncate,
            "--chunk": sizes.get("by"),
            "--max-tokens": sizes.get("max_tokens"),
            "--min-tokens": sizes.get("min_tokens"),
            "--overlap": sizes.get("overlap"),
            "--no-text": not sizes.get("text", True),
        }


@dataclass(frozen=True, slots=True)
class PartSize:
    """The most texts and characters of a part, which is the piece of work that is shared out, and
    done again where a process dies. A longer text is a part by itself."""

    texts: int
    characters: int


@dataclass(frozen=True, slots=True)
class DeviceOptions:
    """Where it is computed.

    address: of a Ray cluster; None is a Ray of this run's own, on this machine. device: "auto",
    "cpu" or "cuda". actors: the most that hold a model, one for each device; None is one for each
    GPU that is there, and one on CPUs. threads: of an actor on a CPU. part_texts: the most of a
    part. retries: how often a part is done again whose process died.
    """

    address: str | None = None
    device: str = "auto"
    actors: int | None = None
    threads: int | None = None
    part_texts: int = 4096
    retries: int = 8
