"""Records of an input file, and the batches of them that requests take, as a stream.

`_record` is the one place that checks fields. Memory holds one batch.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from app.tools.tool_errors import ToolError
from model.records import DEFAULT_ID_FIELD, Id, LineError, ParsedRecord, id_of, require, text_of

# A request's body stays under the service's limit, whatever the batch size.
MOST_CHARACTERS = 4_000_000
# Lower with --chunk, so that several requests fit into a worker's queue.
MOST_CHUNKED_CHARACTERS = 500_000
# A document's records are in memory together. A wrong --group would make the file one document.
MOST_RECORDS = 65_536
# The warning about texts that were repaired, with their number.
REPAIRED = "warning: {} texts had lone surrogates, such as half an emoji; each is read as U+FFFD."


@dataclass(frozen=True, slots=True)
class Fields:
    """The names of a record's fields. Without `id` it is "id", where a record has that."""

    text: str = "text"
    id: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One text. `number` counts records from 0, `line` lines from 1; `id` is None if not given.

    `error` is what is wrong with a line that cannot be read; it counts as a record, so that
    correcting the line changes no other record's number. `repaired` is as in model.records.
    """

    number: int
    line: int
    id: Id | None
    text: str
    group: Id | None = None
    repaired: bool = False
    error: str | None = None

    @property
    def name(self) -> Id:
        """The id, or the record's number where none was given."""
        return self.number if self.id is None else self.id

    @property
    def place(self) -> str:
        """Its number, id and line, for a sentence."""
        given = "" if self.id is None else f"id {self.id!r}, "
        return f"record {self.number} ({given}line {self.line})"


@dataclass(slots=True)
class InputCounts:
    """How many records were read, had lone surrogates, and could not be read."""

    records: int = 0
    repaired: int = 0
    unread: int = 0

    def counted(self, records: Iterable[Record]) -> Iterator[Record]:
        """The same records, counted as they are taken."""
        for record in records:
            self.records += 1
            self.repaired += record.repaired
            self.unread += record.error is not None
            yield record


def records(
    lines: Iterable[ParsedRecord | LineError], fields: Fields, *, skip_errors: bool = False
) -> Iterator[Record]:
    """The records of lines; with `skip_errors` those that cannot be read have an `error`.

    Raises:
        ToolError: a line is not what it must be; the sentence has its number.
    """
    for number, found in enumerate(lines):
        try:
            record = _record(number, found, fields)
        except LineError as error:
            if not skip_errors:
                raise ToolError(str(error)) from None
            record = Record(number, error.line, None, "", error=str(error))
        yield record


def request_batches(
    records: Iterable[Record], size: int, *, chunked: bool = False
) -> Iterator[list[Record]]:
    """Up to `size` consecutive records each, and of no more characters than a request takes; fewer
    where they are documents to be `chunked`.

    The first ones are small, so that something is answered, shown and kept soon: a batch that
    begins with record k has at most k + 1 records, which is 1, 2, 4 and so on. That depends on the
    place in the file alone, so that a continued run makes the requests of one that was not
    interrupted. A full batch is not held back until the next record is read, which a pipe may
    deliver much later.
    """
    batch: list[Record] = []
    characters, most = 0, MOST_CHUNKED_CHARACTERS if chunked else MOST_CHARACTERS
    for record in records:
        if batch and characters + len(record.text) > most:
            yield batch
            batch, characters = [], 0
        batch.append(record)
        characters += len(record.text)
        if len(batch) == min(size, batch[0].number + 1):
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def group_records(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Consecutive records of one group each. A line that could not be read may be part of the
    document before it or after it, and joins both: none of them is whole.

    Raises:
        ToolError: a group has too many records to be one document.
    """
    document: list[Record] = []
    for record in records:
        joins = not document or record.error is not None or document[-1].error is not None
        if not joins and record.group != document[-1].group:
            yield document
            document = []
        document.append(record)
        if len(document) > MOST_RECORDS:
            raise ToolError(
                f"line {record.line}: the document {document[0].group!r} has more than "
                f"{MOST_RECORDS} records; is --group the right field?"
            )
    if document:
        yield document


def _record(number: int, found: ParsedRecord | LineError, fields: Fields) -> Record:
    if isinstance(found, LineError):
        raise found
    require(found, fields.text, "--text-field")
    text = text_of(found, fields.text, blank=True)
    group = None
    if fields.group is not None:
        require(found, fields.group, "--group")
        group = id_of(found, fields.group)
    return Record(number, found.line, _id(found, fields), text, group, found.repaired)


def _id(found: ParsedRecord, fields: Fields) -> Id | None:
    if fields.id is None and found.fields.get(DEFAULT_ID_FIELD) is None:
        return None
    require(found, fields.id or DEFAULT_ID_FIELD, "--id-field")
    return id_of(found, fields.id or DEFAULT_ID_FIELD)
