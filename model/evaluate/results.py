"""Writes the results of an evaluation to --out: evaluation.json and the pictures."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from model.evaluate.errors import EvaluationError
from model.evaluate.evaluation import EvaluationResult


def write(
    folder: Path, results: Sequence[EvaluationResult], settings: Mapping[str, Any]
) -> list[Path]:
    """Write the results of one model or of two; the files that were written.

    `settings` are further fields of evaluation.json: what was asked for.

    Raises:
        EvaluationError: a file cannot be written.
    """
    first, *others = results
    content: dict[str, Any] = {**settings, **first.json()}
    if others:
        content["against"] = others[0].json()
    path = folder / "evaluation.json"
    # A symbolic link stays, and the file it points to is replaced.
    target = path.resolve()
    new = target.with_name(f"{target.name}.new")
    try:
        new.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        new.replace(target)
        from model.evaluate.pictures import draw  # noqa: PLC0415  (slow, and not needed without --out)

        return [path, *draw(folder, [(each.model.name, each.metrics) for each in results])]
    except OSError as error:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise EvaluationError(f"cannot write to {folder}: {error.strerror}.") from None
