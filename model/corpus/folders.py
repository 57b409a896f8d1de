"""Folders of a corpus, local or in an object store.

An input file gives one output file of the same name, which appears whole. It says of itself
(Parquet's key-value metadata) which input it was made of and in which embedding space its vectors
are, so that nothing else has to be kept to know what is finished.
"""

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from model.corpus.errors import CorpusError
from model.corpus.filesystems import FILE_ERRORS, opened, reason, told
from model.records import kind_of

PARTS, ERRORS, OPTIONS = "_parts", "_errors", "_corpus.json"
SPACE, ORIGIN = "embedding_space", "quintet.input"
_PARQUET = ".parquet"
_AT_ONCE = 32  # footers, each of which an object store takes tens of milliseconds for
_HIDDEN = ("_", ".")  # which readers of such folders skip, too


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file of texts; `name` is its path below the folder. Size and time tell its states apart."""

    name: str
    path: str
    size: int
    mtime_ns: int

    @property
    def is_parquet(self) -> bool:
        return self.name.lower().endswith(_PARQUET)

    @property
    def output_name(self) -> str:
        """The name of the file with its vectors."""
        return self.name if self.is_parquet else self.name + _PARQUET

    @property
    def origin(self) -> str:
        """What an output file says of its input."""
        return json.dumps({"name": self.name, "size": self.size, "mtime_ns": self.mtime_ns})


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of a filesystem; `given` is how the user wrote it."""

    filesystem: Any
    path: str
    given: str

    def at(self, name: str) -> str:
        """The path of a file in the folder."""
        return f"{self.path.rstrip('/')}/{name}"

    def files(self) -> list[Any]:
        """All files below it, without those of hidden names; none if there is no such folder.

        Raises:
            CorpusError: it cannot be read.
        """
        selector = pafs.FileSelector(self.path, recursive=True, allow_not_found=True)
        with told(f"read {self.given}"):
            found = self.filesystem.get_file_info(selector)
        files = (each for each in found if each.type == pafs.FileType.File)
        return sorted(
            (each for each in files if not _is_hidden(self.name_of(each))), key=lambda x: x.path
        )

    def name_of(self, info: Any) -> str:
        """A file's path below the folder."""
        return str(PurePosixPath(info.path).relative_to(self.path))

    def read(self, name: str) -> bytes | None:
        """A small file's content; None if there is none."""
        if self.filesystem.get_file_info(self.at(name)).type != pafs.FileType.File:
            return None
        with self.filesystem.open_input_stream(self.at(name)) as stream:
            content: bytes = stream.read()
            return content

    def write(self, name: str, content: bytes) -> None:
        """Write a small file."""
        self.filesystem.create_dir(self.path, recursive=True)
        with self.filesystem.open_output_stream(self.at(name)) as stream:
            stream.write(content)

    def remove(self, name: str) -> None:
        """Remove a folder in it, if it is there.

        Raises:
            CorpusError: it cannot be removed.
        """
        with told(f"remove {name} in {self.given}"):
            if self.filesystem.get_file_info(self.at(name)).type == pafs.FileType.Directory:
                self.filesystem.delete_dir(self.at(name))


def folder(given: str) -> Folder:
    """The folder of a path, or of an address such as s3://bucket/folder.

    Raises:
        CorpusError: nothing that is installed reads such an address.
    """
    return Folder(*opened(given), given)


def input_files(source: Folder) -> tuple[list[InputFile], int]:
    """The files of texts of a folder, and how many others it has.

    Raises:
        CorpusError: there is no such folder or no such file, it cannot be read, or two files would
            have one output.
    """
    with told(f"read {source.given}"):
        info = source.filesystem.get_file_info(source.path)
    if info.type == pafs.FileType.File:
        raise CorpusError(f"{source.given} is a file; name its folder, or use `quintet embed`.")
    found = source.files()
    if not found and info.type == pafs.FileType.NotFound:
        raise CorpusError(f"there is no folder {source.given}; check its name{_bucket(source)}.")
    files = [
        InputFile(source.name_of(each), each.path, each.size, each.mtime_ns or 0)
        for each in found
        if _is_read(each.path)
    ]
    if not files:
        raise CorpusError(
            f"{source.given} has no Parquet or JSONL file (.parquet, .jsonl or .ndjson, also .gz "
            f".xz .bz2); of other files it has {len(found)}."
        )
    outputs: dict[str, InputFile] = {}
    for file in files:
        other = outputs.setdefault(file.output_name, file)
        if other is not file:
            raise CorpusError(
                f"{source.given} has {other.name} and {file.name}, whose vectors would have one "
                f"name, {file.output_name}; rename one."
            )
    return files, len(found) - len(files)


def _bucket(source: Folder) -> str:
    return ", its bucket and AWS_ENDPOINT_URL" if source.filesystem.type_name == "s3" else ""


def _is_read(path: str) -> bool:
    return path.lower().endswith(_PARQUET) or kind_of(path) == "jsonl"


def _is_hidden(name: str) -> bool:
    return any(part.startswith(_HIDDEN) for part in PurePosixPath(name).parts)


@dataclass(frozen=True, slots=True)
class Finished:
    """What an output folder has: what each output file says of its input, None in one that nobody
    finished, and of its space, of those that say it."""

    origins: dict[str, str | None]
    spaces: dict[str, str]


def finished(output: Folder) -> Finished:
    """What the output folder has, by the footers of its Parquet files.

    Raises:
        CorpusError: the folder cannot be read, or has files of somebody else.
    """
    infos = output.files()
    names = [output.name_of(each) for each in infos]
    for name in names:
        if not name.lower().endswith(_PARQUET):
            raise CorpusError(f"{output.given} has {name}, which is none of its vectors; {_EMPTY}")
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        said = list(pool.map(lambda each: _said(output, each), infos))
    return Finished(
        {name: each.get(ORIGIN) for name, each in zip(names, said, strict=True)},
        {name: each[SPACE] for name, each in zip(names, said, strict=True) if SPACE in each},
    )


_EMPTY = "name an empty folder, or one that does not exist."


def _said(output: Folder, info: Any) -> dict[str, str]:
    """The key-value metadata of an output file; none of one that was not written to its end."""
    try:
        said = footer(output, info.path)
    except FILE_ERRORS as error:
        if not _is_claimed(output):
            raise CorpusError(f"cannot read {info.path}: {reason(error)}; {_EMPTY}") from None
        # A disk that was full or went off, or a process that died, leaves a file without an end.
        if isinstance(error, pa.ArrowInvalid):
            return {}
        raise CorpusError(
            f"cannot read {info.path}: {reason(error)}; make it readable, or remove it to have its "
            "vectors computed again."
        ) from None
    if SPACE not in said:
        raise CorpusError(f"{info.path} was not written by `quintet corpus`; {_EMPTY}")
    return said


def footer(output: Folder, path: str) -> dict[str, str]:
    """The key-value metadata of a Parquet file.

    Raises:
        pyarrow.ArrowInvalid: it is none, or was not written to its end.
    """
    with output.filesystem.open_input_file(path) as file:
        pairs = pq.read_metadata(file).metadata or {}
    return {key.decode(): value.decode(errors="replace") for key, value in pairs.items()}


def _is_claimed(output: Folder) -> bool:
    """Whether a run has written down what the folder's vectors are made of."""
    with told(f"read {OPTIONS} in {output.given}"):
        return output.read(OPTIONS) is not None


def claim(output: Folder, identity: dict[str, Any]) -> None:
    """Write down what a folder's vectors are made of, or compare with what is written there.

    Raises:
        CorpusError: it has vectors of other options or of another embedding space, or cannot be
            written.
    """
    with told(f"read and write {OPTIONS} in {output.given}"):
        written = output.read(OPTIONS)
        if written is None:
            output.write(OPTIONS, json.dumps(identity, indent=1).encode())
            # Who begins at the same moment with other options reads what was written last.
            written = output.read(OPTIONS)
        before = json.loads(written or b"null")
    if not isinstance(before, dict):
        raise CorpusError(
            f"{OPTIONS} in {output.given} is damaged: it must be an object with the options of the "
            "run. Name another folder, or remove this one."
        )
    for name, value in identity.items():
        if before.get(name) != value:
            raise CorpusError(
                f"{output.given} is of a run whose {name} was {before.get(name)}, and now is "
                f"{value}; name another folder, or remove this one."
            )


def overlapping(source: Folder, output: Folder) -> bool:
    """Whether one is in the other, so that vectors would be read as texts."""
    if not source.filesystem.equals(output.filesystem):
        return False
    one, other = _real(source), _real(output)
    return one.is_relative_to(other) or other.is_relative_to(one)


def _real(folder: Folder) -> PurePath:
    """A folder's path, of a local one without links and "..": here only, since another node of a
    cluster may reach the same folder by another link."""
    if folder.filesystem.type_name == "local":
        return Path(folder.path).resolve()
    return PurePosixPath(folder.path)


def chosen(files: Iterable[InputFile], origins: dict[str, str | None]) -> Iterator[InputFile]:
    """The files that have no output of their present state."""
    return (file for file in files if origins.get(file.output_name) != file.origin)
