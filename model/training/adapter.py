"""`quintet train adapter`: train one task's adapter on your data.

The base is not changed. What is written is a whole checkpoint in the -hf layout, which the service
serves: the base's tensors and the other tasks' adapters are copied, the trained one is new.

Exit status: 0 done, 2 wrong input (a sentence says what), 130 interrupted.
"""

import argparse
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from model.config import checked_config, read_config
from model.hub import locate
from model.tasks import Tasks
from model.tokenizer import Tokenizer
from model.training import weights
from model.training.adapter_setup import AdapterOptions, AdapterSetup, set_up_adapters
from model.training.batches import (
    BatchOrder,
    Split,
    check_batch_size,
    epoch_batches,
    split,
    split_by_file,
)
from model.training.data import Examples, read_examples
from model.training.export import write_hf
from model.training.objective import LossConfig, Objective
from model.training.run_folder import RunFolder, reporting_write_errors
from model.training.summary import summary
from model.training.trainable_encoder import TrainableEncoder
from model.training.trainer import Trainer, TrainingConfig

_WARM_UP = 0.1
# The validation share without --validation-share: this, but about so many records at most.
_SHARE, _MAX_VALIDATED = 0.1, 500
# The number of validations without --validate-every.
_VALIDATIONS = 20
# Options that the weights do not depend on, or that settings.json has under another name.
_NOT_SETTINGS = (
    *("command", "training", "out", "base", "revision", "data", "validation", "mixed_precision"),
)


def run(options: argparse.Namespace) -> None:
    """Train, and write the checkpoint.

    Raises:
        TrainingError, CheckpointError: the input is not what it must be; the sentence says how.
    """
    folder = locate(options.base, options.revision)
    config = read_config(folder)
    examples = read_examples(options.data)
    adapter_options = AdapterOptions(options.task, options.instruction, options.start)
    setup = set_up_adapters(adapter_options, config, examples.kind)
    check_batch_size(options.batch_size, examples.kind)
    parts = _split(options, examples)
    accelerator = Accelerator(mixed_precision=options.mixed_precision)
    batches = BatchOrder(parts.training, options.batch_size, options.seed)
    training = _training_config(options, batches, accelerator)
    run_folder = RunFolder(options.out)
    if accelerator.is_main_process:
        run_folder.claim(_settings(options, folder, accelerator))
        _announce(setup, parts, training, examples.repaired)
    accelerator.wait_for_everyone()
    objective = _objective(options, folder, setup)
    validation = [
        parts.validation.only(batch)
        for batch in epoch_batches(parts.validation, options.batch_size, [options.seed, 0, 1])
    ]
    state = Trainer(objective, training, run_folder, accelerator).run(batches, validation)
    if accelerator.is_main_process:
        with reporting_write_errors(options.out):
            _write(options.out, folder, setup, objective.encoder)
        run_folder.finish()
        print(summary(options, setup.trained, training, state))
    accelerator.wait_for_everyone()


def _split(options: argparse.Namespace, examples: Examples) -> Split:
    if options.validation is not None:
        return split_by_file(examples, read_examples(options.validation, validation=True))
    share = options.validation_share or min(_SHARE, _MAX_VALIDATED / len(examples))
    return split(examples, share, options.seed)


def _training_config(
    options: argparse.Namespace, batches: BatchOrder, accelerator: Accelerator
) -> TrainingConfig:
    steps = max(1, batches.per_epoch * options.epochs // accelerator.num_processes)
    steps = min(steps, options.max_steps or steps)
    return TrainingConfig(
        steps=steps,
        learning_rate=options.learning_rate,
        warm_up=_WARM_UP,
        validate_every=options.validate_every or max(1, steps // _VALIDATIONS),
        patience=options.patience,
    )


def _settings(
    options: argparse.Namespace, folder: Path, accelerator: Accelerator
) -> dict[str, Any]:
    """What the weights depend on; a run is resumed only with the same."""
    settings = {name: value for name, value in vars(options).items() if name not in _NOT_SETTINGS}
    files = {"data": options.data, "validation": options.validation}
    digests = {name: _digest(path) for name, path in files.items() if path is not None}
    environment = {"base": str(folder), "processes": accelerator.num_processes}
    return {**settings, **environment, **digests, "precision": accelerator.mixed_precision}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"{path.name}, sha256 {hashlib.file_digest(file, 'sha256').hexdigest()}"


def _objective(options: argparse.Namespace, folder: Path, setup: AdapterSetup) -> Objective:
    """The encoder with the adapters that are needed, and the loss that trains them."""
    base = weights.read(folder)
    torch.manual_seed(options.seed)
    encoder = TrainableEncoder.from_weights(base, ())
    for task, start in setup.starts.items():
        encoder.add(task, None if start is None else base.adapters[start])
    encoder.set_trainable(*setup.trained)
    if options.checkpointing:
        encoder.checkpoint_activations()
    shape = replace(base.config, max_tokens=min(options.max_tokens, base.config.max_tokens))
    tasks = Tasks(checked_config({**base.fields, **setup.fields}))
    tokenizer = Tokenizer(folder, shape), tasks
    return Objective(encoder, tokenizer, setup.sides, LossConfig(options.temperature))


def _write(out: Path, folder: Path, setup: AdapterSetup, encoder: TrainableEncoder) -> None:
    """Write the checkpoint; the base is read again, as training has it in float32 only."""
    base = weights.read(folder)
    adapters = {**base.adapters, **{task: encoder.adapter(task) for task in setup.trained}}
    trained = weights.Weights({**base.fields, **setup.fields}, base.base, adapters)
    write_hf(out, trained, folder / "tokenizer.json")


def _announce(setup: AdapterSetup, parts: Split, training: TrainingConfig, repaired: int) -> None:
    shared = f", {parts.dropped} that share a text with those are left out" if parts.dropped else ""
    print(
        f"teaching {' and '.join(setup.trained)} on {len(parts.training)} {parts.training.kind}, "
        f"at most {training.steps} steps; {len(parts.validation)} are for validation{shared}",
        flush=True,
    )
    if repaired:
        what = f"{repaired} records had lone surrogates, such as half an emoji"
        print(f"warning: {what}; each is read as U+FFFD.", flush=True)
