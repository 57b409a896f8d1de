"""Files in an object store that says milliseconds in a list, and whole seconds of one file: MinIO.

A server that answers what pyarrow asks: moto says whole seconds in either.
"""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow.fs as pafs
import pytest

from model.corpus.folders import Folder, input_files
from model.corpus.options import Columns
from model.corpus.reading import read_parts
from tests.model.corpus.corpora import WHOLE

CONTENT = b'{"text": "one"}\n{"text": "two"}\n'
LIST = """<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>corpora</Name>
<Prefix>{prefix}</Prefix><KeyCount>1</KeyCount><MaxKeys>1000</MaxKeys>
<IsTruncated>false</IsTruncated><Contents><Key>in/a.jsonl</Key>
<LastModified>2026-11-27T10:20:30.{milliseconds}Z</LastModified><ETag>"1"</ETag>
<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents></ListBucketResult>"""


class Bucket(BaseHTTPRequestHandler):
    """A bucket with one file."""

    protocol_version = "HTTP/1.1"
    seconds = 30

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        query = parse_qs(asked.query, keep_blank_values=True)
        if "list-type" in query:
            shape = {"prefix": query.get("prefix", [""])[0], "size": len(CONTENT)}
            self._answer(200, LIST.format(milliseconds=123, **shape).encode())
        elif asked.path != "/corpora/in/a.jsonl":
            self._answer(404, b"")
        elif given := self.headers["range"]:
            first, last = map(int, given.removeprefix("bytes=").split("-"))
            self._answer(206, CONTENT[first : last + 1])
        else:
            self._answer(200, CONTENT)

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Last-Modified", f"Fri, 27 Nov 2026 10:20:{self.seconds} GMT")
        self.send_header("ETag", '"1"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def bucket() -> Iterator[tuple[Any, type[Bucket]]]:
    """pyarrow's filesystem of the bucket, and its handler."""

    class Own(Bucket):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Own) as server:
        Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            yield (
                pafs.S3FileSystem(
                    access_key="somebody",
                    secret_key="secret",  # noqa: S106
                    region="us-east-1",
                    endpoint_override=f"http://127.0.0.1:{server.server_port}",
                ),
                Own,
            )
        finally:
            server.shutdown()


@pytest.mark.parametrize("seconds", [30, 31])
def test_a_file_has_changed_when_the_seconds_of_its_time_have(
    bucket: tuple[Any, type[Bucket]], seconds: int
) -> None:
    filesystem, handler = bucket
    (file,), _ = input_files(Folder(filesystem, "corpora/in", "s3://corpora/in"))
    assert file.mtime_ns % 10**9 == 123_000_000
    handler.seconds = seconds
    (table,) = read_parts(0, file, filesystem, Columns("text"), WHOLE)
    (part,) = table.to_pylist()
    assert part["texts"] == ["one", "two"]
    changed = None if seconds == 30 else "corpora/in/a.jsonl changed while it was read"
    assert part["broken"] == changed
