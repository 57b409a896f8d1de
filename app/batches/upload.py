"""Reads an upload: a form with a file, which goes to the disk as it comes and is never in memory.

The parsing of the form is done by the library `python_multipart`.
"""

import asyncio
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from app.api.bodies import declared_bytes
from app.batches.files import Files, Upload
from app.batches.records import StoredFile
from app.errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    ClientDisconnectedError,
    RequestError,
)
from app.settings import Settings

# Of the form around the file: its other fields, and all headers and boundaries.
_FORM_BYTES = 65_536
_MAX_PARTS = 16
_WRITTEN_BYTES = 1 << 20
_MAX_NAME = 255


@dataclass(slots=True)
class Form:
    """What has been read of a form: fields by name, and of the file what is not written yet."""

    fields: dict[str, bytearray] = field(default_factory=dict)
    filename: str | None = None
    content: bytearray = field(default_factory=bytearray)
    whole: bool = False
    _parts: int = 0
    _header: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _disposition: bytes = b""
    _into: bytearray | None = None

    def parser(self, content_type: str) -> MultipartParser:
        """The parser that fills it.

        Raises:
            RequestError: the body is no such form.
        """
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise RequestError(
                "a file is uploaded as multipart/form-data, with the fields `file` and `purpose`."
            )
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._data,
                "on_end": self._end,
            },
        )

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise RequestError(
                f"the form has more than {_MAX_PARTS} parts; send `file` and `purpose`, and "
                "`expires_after` where you want it."
            )
        self._disposition, self._into = b"", None

    def _end(self) -> None:
        self.whole = True

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name == "file" and self.filename is None:
            given = options.get(b"filename", b"").decode("utf-8", "replace")
            self.filename, self._into = given[-_MAX_NAME:], self.content
        else:
            self._into = self.fields.setdefault(name, bytearray())

    def _data(self, data: bytes, start: int, end: int) -> None:
        assert self._into is not None, "headers come before data"
        self._into += data[start:end]

    def text(self, name: str) -> str | None:
        """A field."""
        return self.fields[name].decode("utf-8", "replace") if name in self.fields else None


async def received(request: Request, files: Files, settings: Settings, owner: str) -> StoredFile:
    """The file of a request, on the disk and listed.

    Raises:
        RequestError: the form, or a field of it, is wrong; the file is too large, or too slow.
        StorageError: there is no room for it.
    """
    declared = declared_bytes(request)
    form = Form()
    parser = form.parser(request.headers.get("content-type", ""))
    if declared is not None:
        if declared > settings.max_file_bytes + _FORM_BYTES:
            raise BodyTooLargeError(settings.max_file_bytes, declared)
        await asyncio.to_thread(files.check_room, declared)
    upload = await asyncio.to_thread(files.begin)
    try:
        await _receive(request, parser, form, upload, settings)
        expires_after_s = _checked(form)
        name = form.filename or "upload.jsonl"
        return await asyncio.to_thread(files.commit, upload, owner, name, expires_after_s)
    finally:
        await asyncio.to_thread(upload.discard)


async def _receive(
    request: Request, parser: MultipartParser, form: Form, upload: Upload, settings: Settings
) -> None:
    loop = asyncio.get_running_loop()
    start, size = loop.time(), 0
    try:
        async with asyncio.timeout(settings.upload_timeout_s(0)) as limit:
            async for chunk in request.stream():
                size += len(chunk)
                limit.reschedule(start + settings.upload_timeout_s(size))
                parser.write(chunk)
                file_bytes = upload.bytes + len(form.content)
                if file_bytes > settings.max_file_bytes:
                    raise BodyTooLargeError(settings.max_file_bytes)
                if size - file_bytes > _FORM_BYTES:
                    raise RequestError(
                        f"the form has more than {_FORM_BYTES} bytes beside the content of its "
                        "`file`; send `purpose`, and `expires_after` where you want it."
                    )
                if len(form.content) > _WRITTEN_BYTES:
                    await _write(upload, form)
            parser.finalize()
            await _write(upload, form)
    except TimeoutError:
        raise BodyTimeoutError(round(loop.time() - start)) from None
    except ClientDisconnect:
        raise ClientDisconnectedError("the caller hung up while sending the file.") from None
    except FormParserError as error:
        raise RequestError(f"the form is broken: {error}.") from None


async def _write(upload: Upload, form: Form) -> None:
    await asyncio.to_thread(upload.write, bytes(form.content))
    form.content.clear()


def _checked(form: Form) -> int | None:
    """Check the form's fields; after how many seconds the file is to expire.

    Raises:
        RequestError: one of them is missing or wrong.
    """
    if not form.whole:
        raise RequestError("the form ends before its last boundary.")
    if form.filename is None:
        raise RequestError("the form has no `file`.", "file")
    if form.text("purpose") != "batch":
        found = form.text("purpose")
        said = "is missing" if found is None else f"is {found[:80]!r}"
        raise RequestError(f"`purpose` {said}; files here are for `batch`.", "purpose")
    after = form.text("expires_after[seconds]")
    if after is None:
        return None
    if not after.isdecimal() or int(after[:12]) == 0:
        raise RequestError("`expires_after[seconds]` is a whole number over 0.", "expires_after")
    return int(after[:12])
