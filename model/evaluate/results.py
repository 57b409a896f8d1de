"""Results: what --out gets, evaluation.json and the pictures."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from model.evaluate.errors import EvaluationError
from model.evaluate.evaluation import Evaluated


def write(folder: Path, found: Sequence[Evaluated], said: Mapping[str, Any]) -> list[Path]:
    """Write what was found of one subject or two; the files that were written.

    `said` are further fields of the JSON file: what was asked for.

    Raises:
        EvaluationError: a file cannot be written.
    """
    ours, *others = found
    content: dict[str, Any] = {**said, **ours.json()}
    if others:
        content["against"] = others[0].json()
    path = folder / "evaluation.json"
    # A link stays, and what it points to is replaced.
    target = path.resolve()
    new = target.with_name(f"{target.name}.new")
    try:
        new.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        new.replace(target)
        from model.evaluate.pictures import draw  # noqa: PLC0415  (slow, and not needed without --out)

        return [path, *draw(folder, [(each.subject.name, each.lines) for each in found])]
    except OSError as error:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise EvaluationError(f"cannot write to {folder}: {error.strerror}.") from None
