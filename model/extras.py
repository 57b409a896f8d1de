"""Extras: optional packages, and how they come into the environment that is running.

The distribution's extras are named in pyproject.toml. A hint has to work where it is read: in a
checkout `make` keeps the editable install and the pins; anywhere else the requirements themselves
are named, since the distribution may not be on any index, and the running interpreter is, since a
system's own pip may refuse to install.
"""

import importlib.util
import re
import shlex
import sys
import tomllib
from importlib import metadata
from pathlib import Path

DISTRIBUTION = "quintet-embeddings"
# What Python imports of each extra that a command of its own needs.
MODULES = {
    "evaluate": ("matplotlib", "scipy", "sklearn"),
    "training": ("accelerate", "peft", "sentencepiece", "transformers"),
}
_CHECKOUT = Path(__file__).parent.parent


def missing(extra: str) -> list[str]:
    """The modules of an extra in MODULES that are not installed. Nothing is imported."""
    return [name for name in MODULES[extra] if importlib.util.find_spec(name) is None]


def how_to_install(extra: str) -> str:
    """What installs an extra of this distribution, such as `redis`, where this runs."""
    if _is_checkout() and sys.prefix != sys.base_prefix:
        own = _CHECKOUT / ".venv"
        venv = "" if Path(sys.prefix) == own else f" VENV={shlex.quote(sys.prefix)}"
        return f"make extras={extra}{venv} (in {_CHECKOUT})"
    try:
        requirements = _requirements(extra)
    except metadata.PackageNotFoundError:  # the two packages alone, copied somewhere
        return f"install what {DISTRIBUTION} names as its extra {extra} into {sys.prefix}"
    if importlib.util.find_spec("pip") is None:
        return f"install {', '.join(requirements)} into {sys.prefix}, which has no pip of its own"
    return shlex.join([sys.executable, "-m", "pip", "install", *requirements])


def _is_checkout() -> bool:
    return all((_CHECKOUT / name).is_file() for name in ("Makefile", "pyproject.toml"))


def _requirements(extra: str) -> list[str]:
    """The requirements of an extra, such as `redis>=5.2`.

    Raises:
        PackageNotFoundError: this is no checkout, and not installed either.
    """
    if _is_checkout():
        text = (_CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")
        of_extras: dict[str, list[str]] = tomllib.loads(text)["project"]["optional-dependencies"]
        return of_extras[extra]
    marker = re.compile(rf"""\s*;\s*extra\s*==\s*["']{re.escape(extra)}["']""")
    found = metadata.requires(DISTRIBUTION) or []
    return [marker.sub("", each) for each in found if marker.search(each)]
