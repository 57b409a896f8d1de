"""Starts a module of this package in a process of its own.

Promise: the module is imported from the folder that the running process has its packages from,
whatever the current folder and its files are called.
"""

import asyncio
import os
import site
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# The folder that holds the packages `app` and `model`.
_PACKAGES_FOLDER = Path(__file__).parents[2]


async def start_module(
    name: str, *arguments: str, environment: Mapping[str, str] | None = None, **options: Any
) -> asyncio.subprocess.Process:
    """Start `python -m name arguments...` with asyncio's further options of a process.

    `environment` is that of this process where none is given.
    """
    command = sys.executable, "-P", "-m", name, *arguments  # -P: the current folder is not searched
    variables = dict(os.environ if environment is None else environment)
    if str(_PACKAGES_FOLDER) not in [*site.getsitepackages(), site.getusersitepackages()]:
        # Run from a checkout, perhaps beside an installed one. Never for site-packages, which
        # Python searches by itself: its modules would then come before the standard library's.
        others = variables.get("PYTHONPATH")
        variables["PYTHONPATH"] = os.pathsep.join(
            [str(_PACKAGES_FOLDER), *([others] if others else ())]
        )
    return await asyncio.create_subprocess_exec(*command, env=variables, **options)
