r"""Encoding: bodies that are not clean Unicode.

Only bodies that the parser refuses come here, so that all others cost nothing. JavaScript cuts
texts between UTF-16's halves, which leaves half a pair: `"\ud83d"` alone, a lone surrogate. It is
no character, and is replaced by U+FFFD, as JavaScript's own TextEncoder does it.
"""

import codecs
import re

from app.errors import NotUtf8Error

# Half of a pair of escapes without its other half, where no backslash is itself escaped.
_LONE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
_BACKSLASH = rb"\\"  # as JSON writes one
_MARK = b"\xff\xff"  # bytes that UTF-8 never has


def decoded(body: bytes) -> str:
    """The text of a body, without a byte order mark.

    Raises:
        NotUtf8Error: it is in another encoding.
    """
    if 0 in body[:2]:  # UTF-16 and UTF-32 of ASCII, which would be UTF-8 with many zeros
        raise NotUtf8Error(body, body.index(0))
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        marked = len(codecs.BOM_UTF8) if body.startswith(codecs.BOM_UTF8) else 0
        raise NotUtf8Error(body, error.start + marked) from None


def repaired(body: bytes) -> tuple[bytes, int]:
    r"""A body of JSON without a byte order mark and with \ufffd for each lone surrogate, and how
    many there were.

    Raises:
        NotUtf8Error: it is in another encoding.
    """
    decoded(body)
    marked = body.removeprefix(codecs.BOM_UTF8).replace(_BACKSLASH, _MARK)
    clean, count = _LONE.subn(rb"\\ufffd", marked)
    return clean.replace(_MARK, _BACKSLASH), count
