"""Filesystems of pyarrow and fsspec by address, and what their errors mean."""

import contextlib
import http.client
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from model.corpus.errors import CorpusError

# Errors of a filesystem: pyarrow's own are among the first two.
FILE_ERRORS = (OSError, ValueError, pa.ArrowException)

_DENIED = (
    "access is denied; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, and what "
    "they are allowed there"
)
_NO_BUCKET = "there is no such bucket; make it first, or check AWS_ENDPOINT_URL"
# What pyarrow says of S3 -> what is the matter, and what to do.
_ADVICE = {
    "ACCESS_DENIED": _DENIED,
    "INVALID_ACCESS_KEY_ID": _DENIED,
    "INVALID_CLIENT_TOKEN_ID": _DENIED,
    "SIGNATURE_DOES_NOT_MATCH": _DENIED,
    "NETWORK_CONNECTION": "nobody answers; check AWS_ENDPOINT_URL and the network",
    "NO_SUCH_BUCKET": _NO_BUCKET,
    "Bucket '": _NO_BUCKET,
}
_METADATA_S = 1.0


def opened(given: str) -> tuple[Any, str]:
    """The filesystem of a path or of an address such as s3://bucket/folder, and the path in it.

    Raises:
        CorpusError: nothing that is installed reads such an address.
    """
    scheme, separator, _ = given.partition("://")
    if not separator:
        return pafs.LocalFileSystem(), str(Path(given).expanduser().absolute())
    if scheme == "s3":
        _skip_silent_metadata_service()
    try:
        try:
            filesystem, path = pafs.FileSystem.from_uri(given)
        except pa.ArrowInvalid as error:
            if "Unrecognized filesystem" not in str(error):
                raise
            filesystem, path = pafs.FileSystem.from_uri(f"fsspec+{given}")
    except (*FILE_ERRORS, ImportError) as error:
        raise CorpusError(f"cannot open {given}: {reason(error)}") from None
    return filesystem, path.rstrip("/") or path


def _skip_silent_metadata_service() -> None:
    """Have the AWS SDK not ask EC2's metadata service for keys and a region where nobody answers.

    It would wait seconds for it before each request, and then send that without keys, which is
    right for a public bucket and refused by any other one. Ray's processes here inherit it.
    """
    here = os.environ.keys()
    given = "AWS_ACCESS_KEY_ID" in here and here & {"AWS_REGION", "AWS_DEFAULT_REGION"}
    if given or "AWS_EC2_METADATA_DISABLED" in here:
        return
    address = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254")
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=_METADATA_S)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/")
            connection.getresponse()
        except (OSError, http.client.HTTPException):
            os.environ["AWS_EC2_METADATA_DISABLED"] = "true"


def reason(error: Exception) -> str:
    """An error as one line, behind what to do about it."""
    said = " ".join(str(error).split())
    for name, advice in _ADVICE.items():
        if name in said:
            return f"{advice} ({said.rstrip('.')})"
    return said


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """A block that does something with files.

    Raises:
        CorpusError: a filesystem's error in it; the sentence says what cannot be done, and why.
    """
    try:
        yield
    except FILE_ERRORS as error:
        raise CorpusError(f"cannot {what}: {reason(error)}") from None
