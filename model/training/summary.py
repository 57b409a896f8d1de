"""The summary that is printed when an adapter is trained: the losses and what to do next."""

import argparse
import shlex
from collections.abc import Sequence

from model.training.trainer import TrainingConfig, TrainingState


def summary(
    options: argparse.Namespace,
    trained: Sequence[str],
    config: TrainingConfig,
    state: TrainingState,
) -> str:
    """Lines for people: the loss, whether more steps may help, and the commands that follow."""
    out, base = shlex.quote(str(options.out)), shlex.quote(options.base)
    return "\n".join(
        (
            f"validation loss {state.first:.3f} before, {state.best:.3f} at step "
            f"{state.best_step} of {state.step}, which is what was written to {options.out}",
            _advice(config, state),
            f"measure it: quintet evaluate --data DIR --model {out} --against {base}",
            f"serve it: EMBED_MODEL={out} quintet serve; the task is {', '.join(trained)}",
        )
    )


def _advice(config: TrainingConfig, state: TrainingState) -> str:
    if state.best_step == 0:
        return (
            "it never got better than at the start: try a smaller --learning-rate, more data, or "
            "another --start"
        )
    if state.step >= config.steps and state.since_best == 0:
        return (
            "it was still getting better at the end: more --epochs (and --max-steps, if you gave "
            "it) may help"
        )
    return f"it got no better in the last {state.step - state.best_step} steps"
