"""The dataset of a run: files -> the parts that are written, as they are, in any order."""

import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import ray.data

from model.corpus.cluster import Devices
from model.corpus.embedding import EmbedParts
from model.corpus.folders import InputFile
from model.corpus.options import CorpusOptions, ModelOptions
from model.corpus.reading import read_parts
from model.corpus.tokenizing import TokenizeParts
from model.corpus.writing import Output, write_part

# Each part, being larger, is a block of its own, and is shared out by itself.
_BLOCK_BYTES = 1
# Fractions of a core, so that a machine of two is enough for everything at once.
_SMALL = {"num_cpus": 0.25}
_TOKENIZING = {"num_cpus": 0.5}
_ONE = {"batch_size": 1, "batch_format": "pyarrow"}


@dataclass(frozen=True, slots=True)
class Work:
    """What is computed of which files of a filesystem, and where vectors go. `space` is theirs,
    `readers` the `digest_of_readers` of their checkpoint, `retries` are of a part whose process
    died."""

    files: list[InputFile]
    filesystem: Any
    options: CorpusOptions
    model: ModelOptions
    space: str
    readers: str
    output: Output
    retries: int


def written_parts(work: Work, devices: Devices) -> Iterator[dict[str, Any]]:
    """Write the parts of all files; the rows of `write_part`."""
    ray.data.DataContext.get_current().target_max_block_size = _BLOCK_BYTES
    with warnings.catch_warnings():
        # Ray 2.64 takes other words for retries, and pyproject.toml an older one.
        warnings.simplefilter("ignore", DeprecationWarning)
        dataset = _dataset(work, devices)
    yield from dataset.iter_rows()


def _dataset(work: Work, devices: Devices) -> Any:
    filesystem, columns, output = work.filesystem, work.options.columns, work.output

    def read(file: Any) -> Iterator[Any]:
        (given,) = file.to_pylist()
        index = given.pop("index")
        yield from read_parts(index, InputFile(**given), filesystem, columns, devices.part)

    def write(part: Any) -> Any:
        return write_part(part, output)

    pool = ray.data.ActorPoolStrategy
    tasks = {"max_retries": work.retries}
    actors = {"max_task_retries": work.retries, "max_restarts": -1 if work.retries else 0}
    given = (work.model, work.options)
    files = [{"index": index, **asdict(each)} for index, each in enumerate(work.files)]
    return (
        ray.data.from_items(files, override_num_blocks=len(files))
        .map_batches(read, **_ONE, **_SMALL, **tasks)
        .map_batches(
            TokenizeParts,
            fn_constructor_args=(*given, work.readers),
            compute=pool(min_size=1, max_size=devices.tokenizers),
            **_ONE,
            **_TOKENIZING,
            **actors,
        )
        .map_batches(
            EmbedParts,
            fn_constructor_args=(*given, work.space, devices.name, devices.threads),
            compute=pool(min_size=devices.least, max_size=devices.most),
            **_ONE,
            **devices.resources,
            **actors,
        )
        .map_batches(write, **_ONE, **_SMALL, **tasks)
    )
