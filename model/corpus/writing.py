"""Writing: embedded parts -> files of their own, and those of an input -> its output file.

Promises
1. A part's file is named by its attempt: two attempts at one part, of which one was given up, never
   write one file, and the driver counts one of them.
2. An output file is whole when it says of which input it was made; nobody counts one that does not.
   On a disk it is also renamed into its place; an object store shows a file when it is complete.
   What fsspec opens may show it before, without its end, and cannot always rename one over another.
"""

import contextlib
import json
import posixpath
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from model.corpus.embedding import output_batch
from model.corpus.filesystems import FILE_ERRORS
from model.corpus.folders import ERRORS, ORIGIN, PARTS, SPACE, Folder, InputFile, footer
from model.corpus.reading import PART
from model.vector_table import GroupWriter, schema_of

# Filesystems that write a file where another one can read it before it is whole.
_RENAMED = ("local", "hdfs")


@dataclass(frozen=True, slots=True)
class Output:
    """Where vectors go, and what they are: their columns beside the vector and their size."""

    folder: Folder
    run: str
    fields: dict[str, Any]
    dimensions: int
    said: dict[str, str]

    @property
    def parts(self) -> str:
        """The folder of this run's parts."""
        return f"{PARTS}/{self.run}"

    @property
    def schema(self) -> Any:
        return schema_of(self.fields, self.dimensions).with_metadata(self.said)

    def errors_name(self, file: InputFile) -> str:
        return f"{ERRORS}/{file.name}.jsonl"


def write_part(part: Any, output: Output) -> Any:
    """Write a part's vectors and failures; a row that says where they are, and its counts."""
    batch = output_batch(part, output.fields)
    failed = part.column("failed")[0].as_py()
    name = f"{output.parts}/{uuid.uuid4().hex}"
    folder = output.folder
    folder.filesystem.create_dir(folder.at(output.parts), recursive=True)
    with folder.filesystem.open_output_stream(folder.at(f"{name}.parquet")) as file:
        pq.write_table(pa.Table.from_batches([batch]), file, use_dictionary=False)
    if failed:
        folder.write(f"{name}.jsonl", "".join(f"{line}\n" for line in failed).encode())
    written = {
        "name": [name],
        "vectors": [len(batch)],
        "failed": [len(failed)],
        "tokens": part.column("tokens"),
    }
    return pa.table({**{each: part.column(each) for each in PART}, **written})


def join_parts(file: InputFile, parts: Sequence[tuple[str, int]], output: Output) -> None:
    """Write the output file of an input, of its parts' names and their numbers of failures, in
    order; and before it, the file of all failures. Then remove the parts."""
    filesystem = output.folder.filesystem
    # Ray calls this again if the process died, perhaps after parts were removed.
    if not _is_in_place(file, output):
        _join_failures(file, parts, output)
        _join_vectors(file, parts, output)
    for name, failed in parts:
        for ending in ("parquet", "jsonl") if failed else ("parquet",):
            # One that stays takes room until the run ends, and its output is in place.
            with contextlib.suppress(*FILE_ERRORS):
                filesystem.delete_file(output.folder.at(f"{name}.{ending}"))


def _is_in_place(file: InputFile, output: Output) -> bool:
    folder = output.folder
    path = folder.at(file.output_name)
    if folder.filesystem.get_file_info(path).type != pafs.FileType.File:
        return False
    try:
        return footer(folder, path).get(ORIGIN) == file.origin
    except pa.ArrowInvalid:  # the process died while it wrote
        return False


def _join_vectors(file: InputFile, parts: Sequence[tuple[str, int]], output: Output) -> None:
    folder, filesystem = output.folder, output.folder.filesystem
    target = folder.at(file.output_name)
    filesystem.create_dir(posixpath.dirname(target), recursive=True)
    renamed = filesystem.type_name in _RENAMED
    path = folder.at(f"{output.parts}/{uuid.uuid4().hex}.whole") if renamed else target
    try:
        with (
            filesystem.open_output_stream(path) as stream,
            GroupWriter(stream, output.schema) as whole,
        ):
            for name, _ in parts:
                with filesystem.open_input_file(folder.at(f"{name}.parquet")) as part:
                    for batch in pq.read_table(part).cast(output.schema).to_batches():
                        whole.write(batch)
            failed = sum(each for _, each in parts)
            whole.say({ORIGIN: file.origin, "quintet.failed": str(failed)})
    except BaseException:
        with contextlib.suppress(*FILE_ERRORS):
            filesystem.delete_file(path)
        raise
    if renamed:
        filesystem.move(path, target)


def _join_failures(file: InputFile, parts: Sequence[tuple[str, int]], output: Output) -> None:
    folder, filesystem = output.folder, output.folder.filesystem
    path = folder.at(output.errors_name(file))
    with contextlib.suppress(*FILE_ERRORS):  # there is one where a run before had failures
        filesystem.delete_file(path)
    if not any(failed for _, failed in parts):
        return
    filesystem.create_dir(posixpath.dirname(path), recursive=True)
    with filesystem.open_output_stream(path) as stream:
        for name, failed in parts:
            if failed:
                with filesystem.open_input_stream(folder.at(f"{name}.jsonl")) as part:
                    stream.write(part.read())


def said_of(space: str, identity: dict[str, Any]) -> dict[str, str]:
    """What every output file says of its vectors."""
    return {SPACE: space, "quintet.options": json.dumps(identity)}
