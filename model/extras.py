"""Extras: how optional packages come into the environment that is running.

The distribution's extras are named in pyproject.toml. A hint has to work where it is read: in a
checkout `make` keeps the editable install and the pins; anywhere else the requirements themselves
are named, since the distribution may not be on any index, and the running interpreter is, since a
system's own pip may refuse to install.
"""

import re
import shlex
import sys
from importlib import metadata
from pathlib import Path

DISTRIBUTION = "quintet-embeddings"
_CHECKOUT = Path(__file__).parent.parent


def how_to_install(extra: str) -> str:
    """The command that installs an extra of this distribution, such as `redis`, where this runs."""
    if (_CHECKOUT / "Makefile").is_file() and (_CHECKOUT / "pyproject.toml").is_file():
        return f"make extras={extra} (in {_CHECKOUT})"
    return shlex.join([sys.executable, "-m", "pip", "install", *_requirements(extra)])


def _requirements(extra: str) -> list[str]:
    """The requirements of an extra, without the marker that says so."""
    marker = re.compile(rf"""\s*;\s*extra\s*==\s*["']{re.escape(extra)}["']""")
    found = metadata.requires(DISTRIBUTION) or []
    return [marker.sub("", each) for each in found if marker.search(each)]
