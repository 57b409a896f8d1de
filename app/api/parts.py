"""Parts: how many of them a body has, before it is parsed.

Python needs some 70 bytes for the smallest list or text, which take 3 and 4 on the wire: 32 MB of
them would be 700 MB. A million of them are 70 MB, and thousands of inputs with all their keys are
far from it.
"""

import re
from itertools import islice

from app.errors import TooManyPartsError

MAX_PARTS = 1_000_000
_SEPARATORS = b'",[{\n'
# A text, as JSON and CSV write them, or what separates parts. Possessive, and whatever begins a
# text is one, so that no byte is looked at twice.
_PART = re.compile(rb'"(?:[^"\\]++|\\.?)*+"?|[,\[{\n]', re.DOTALL)


def check_parts(body: bytes) -> None:
    """
    Raises:
        TooManyPartsError: it has more texts, brackets and commas than MAX_PARTS, those inside of
            texts not counted.
    """
    if len(body) - len(body.translate(None, _SEPARATORS)) > MAX_PARTS:  # inside of texts, too
        found = islice(_PART.finditer(body), MAX_PARTS + 1)
        if sum(1 for _ in found) > MAX_PARTS:
            raise TooManyPartsError(MAX_PARTS)
