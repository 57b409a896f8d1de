"""Extras: which optional packages are missing, and the command that installs them.

The extras are those of pyproject.toml. In a checkout the command is `make`, which keeps the
editable install and the pinned versions. Elsewhere it names the requirements, since the
distribution may not be on an index, and the running interpreter, since a system's pip may refuse.
"""

import importlib.util
import re
import shlex
import sys
import tomllib
from importlib import metadata
from pathlib import Path

DISTRIBUTION = "quintet-embeddings"
# The modules of the extras that a whole command needs.
MODULES = {
    "ray": ("pyarrow", "ray"),
    "evaluate": ("matplotlib", "scipy", "sklearn"),
    "training": ("accelerate", "peft", "sentencepiece", "transformers"),
}
_CHECKOUT = Path(__file__).parent.parent


def missing(extra: str) -> list[str]:
    """The modules of an extra that are not installed; none is imported."""
    return [name for name in MODULES[extra] if importlib.util.find_spec(name) is None]


def how_to_install(extra: str) -> str:
    """The command that installs an extra, such as `redis`, into the running environment."""
    if _is_checkout() and sys.prefix != sys.base_prefix:
        default = Path(sys.prefix) == _CHECKOUT / ".venv"
        venv = "" if default else f" VENV={shlex.quote(sys.prefix)}"
        return f"make extras={extra}{venv} (in {_CHECKOUT})"
    try:
        requirements = _requirements(extra)
    except metadata.PackageNotFoundError:  # the folders app and model alone were copied
        return f"install what {DISTRIBUTION} names as its extra {extra} into {sys.prefix}"
    if importlib.util.find_spec("pip") is None:
        return f"install {', '.join(requirements)} into {sys.prefix}, which has no pip of its own"
    return shlex.join([sys.executable, "-m", "pip", "install", *requirements])


def _is_checkout() -> bool:
    return all((_CHECKOUT / name).is_file() for name in ("Makefile", "pyproject.toml"))


def _requirements(extra: str) -> list[str]:
    """The requirements of an extra, such as `redis>=5.2`.

    Raises:
        PackageNotFoundError: this is neither a checkout nor installed.
    """
    if _is_checkout():
        text = (_CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")
        of_extras: dict[str, list[str]] = tomllib.loads(text)["project"]["optional-dependencies"]
        return of_extras[extra]
    marker = re.compile(rf"""\s*;\s*extra\s*==\s*["']{re.escape(extra)}["']""")
    found = metadata.requires(DISTRIBUTION) or []
    return [marker.sub("", each) for each in found if marker.search(each)]
