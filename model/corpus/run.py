"""One run of `quintet corpus`: from a folder of texts to one of vectors.

    files -> parts of texts -> parts of rows -> parts of vectors -> files of parts -> output files
      reading    tokenizing       embedding         writing            writing (join_parts)
      tasks      CPU actors       device actors     tasks              tasks

Promises
1. Each row of an input file gives its vectors once, in its order, or one line of the failures: also
   where actors and tasks die, which Ray starts again, each piece of work up to `retries` times.
2. A file that is finished is not read again, unless it has changed.
3. Vectors of two embedding spaces, or of two kinds of options, are never in one folder.
"""

import uuid
from dataclasses import dataclass, field
from typing import Any

import ray

from model.config import EncoderConfig, read_config
from model.corpus import folders
from model.corpus.cluster import Devices, opened_cluster
from model.corpus.embedding import space_of
from model.corpus.errors import CorpusError
from model.corpus.folders import Finished, Folder, InputFile
from model.corpus.options import CorpusOptions, DeviceOptions, ModelOptions
from model.corpus.pipeline import Work, written_parts
from model.corpus.reading import has_columns
from model.corpus.tokenizing import check, output_fields
from model.corpus.writing import Output, join_parts, said_of
from model.fingerprint import digest_of_readers
from model.hub import locate


@dataclass(frozen=True, slots=True)
class CorpusRun:
    """The options of the command line."""

    source: str
    output: str
    options: CorpusOptions
    model: ModelOptions
    devices: DeviceOptions
    progress: bool = False


@dataclass(slots=True)
class Counts:
    """What a run did. `broken` are the files that could not be read, with the reason."""

    files: int = 0
    finished: int = 0
    changed: int = 0
    others: int = 0
    gone: int = 0
    vectors: int = 0
    failed: int = 0
    tokens: int = 0
    broken: list[str] = field(default_factory=list)


def embed_corpus(run: CorpusRun) -> Counts:
    """Embed what the output lacks.

    Raises:
        CorpusError: an option, a file or the cluster is not what it must be.
        CheckpointError: the model cannot be loaded.
    """
    source, folder = folders.folder(run.source), folders.folder(run.output)
    if folders.overlapping(source, folder):
        raise CorpusError(f"{run.output} and {run.source} are in each other; keep them apart.")
    located = locate(run.model.model, run.model.revision)
    config = read_config(located)
    task = check(run.options, config)
    files, others = folders.input_files(source)
    found = folders.finished(folder)
    waiting = [*folders.chosen(files, found.origins)]
    any(has_columns(each, source.filesystem, run.options.columns) for each in waiting)
    space = str(space_of(located, config, task, chunked=run.options.chunks is not None))
    output = _claimed(run, folder, config, space, found)
    counts = _counts(files, waiting, found)
    counts.others = others
    if waiting:
        work = Work(
            waiting,
            source.filesystem,
            run.options,
            run.model,
            space,
            digest_of_readers(located),
            output,
            run.devices.retries,
        )
        with opened_cluster(run.devices, progress=run.progress) as devices:
            _embed(work, devices, counts)
        folder.remove(folders.PARTS)
    return counts


def _claimed(
    run: CorpusRun, folder: Folder, config: EncoderConfig, space: str, found: Finished
) -> Output:
    """The output folder, if its vectors may be beside those of this run.

    Raises:
        CorpusError: they may not.
    """
    identity = {"embedding space": space, **run.options.identity()}
    for name, other in found.spaces.items():
        if other != space:
            raise CorpusError(
                f"{folder.at(name)} has vectors of the embedding space {other}, and these would be "
                f"of {space}; name another folder."
            )
    folders.claim(folder, identity)
    folder.remove(folders.PARTS)  # of a run that was interrupted
    width = run.options.dimensions or config.hidden_size
    fields = output_fields(run.options.chunks)
    return Output(folder, uuid.uuid4().hex, fields, width, said_of(space, identity))


def _counts(files: list[InputFile], waiting: list[InputFile], found: Finished) -> Counts:
    names = {each.output_name for each in files}
    changed = sum(found.origins.get(each.output_name) is not None for each in waiting)
    gone = sum(name not in names for name in found.origins)
    return Counts(len(waiting), len(files) - len(waiting), changed, gone=gone)


@dataclass(slots=True)
class FileParts:
    """The parts of a file that are written, by number; `total` is known with the last one."""

    written: dict[int, dict[str, Any]] = field(default_factory=dict)
    total: int | None = None
    broken: str | None = None

    def add(self, row: dict[str, Any]) -> bool:
        """Add a part, which counts once; whether all are there."""
        self.written[row["part"]] = row
        if row["last"]:
            self.total, self.broken = row["part"] + 1, row["broken"]
        return len(self.written) == self.total

    @property
    def ordered(self) -> list[tuple[str, int]]:
        """The names of the parts and their numbers of failures."""
        rows = (self.written[number] for number in range(len(self.written)))
        return [(row["name"], row["failed"]) for row in rows]


def _embed(work: Work, devices: Devices, counts: Counts) -> None:
    """Write the output of each file as soon as its last part is written."""
    join = ray.remote(num_cpus=0.25, max_retries=work.retries)(join_parts)
    files: dict[int, FileParts] = {}
    joining = []
    for row in written_parts(work, devices):
        if not files.setdefault(row["file"], FileParts()).add(row):
            continue
        parts = files.pop(row["file"])
        if parts.broken is not None:
            counts.broken.append(parts.broken)
            continue
        for each in parts.written.values():
            counts.vectors += each["vectors"]
            counts.failed += each["failed"]
            counts.tokens += each["tokens"]
        joining.append(join.remote(work.files[row["file"]], parts.ordered, work.output))
    ray.get(joining)
    assert not files, "a file has parts that nobody wrote"
