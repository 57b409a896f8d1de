"""Summary: what is said of a training that is done, and what to do next."""

import argparse
import shlex

from model.training.loop import Plan, Progress
from model.training.teaching import Teaching


def summary(options: argparse.Namespace, teaching: Teaching, plan: Plan, progress: Progress) -> str:
    """Lines for people: the loss, whether more steps may help, and the commands that follow."""
    out, base = shlex.quote(str(options.out)), shlex.quote(options.base)
    return "\n".join(
        (
            f"validation loss {progress.first:.3f} before, {progress.best:.3f} at step "
            f"{progress.best_step} of {progress.step}, which is what was written to {options.out}",
            _ending(plan, progress),
            f"measure it: quintet evaluate --data DIR --model {out} --against {base}",
            f"serve it: EMBED_MODEL={out} quintet serve; the task is {', '.join(teaching.taught)}",
        )
    )


def _ending(plan: Plan, progress: Progress) -> str:
    if progress.best_step == 0:
        return (
            "it never got better than at the start: try a smaller --learning-rate, more data, or "
            "another --start"
        )
    if progress.step >= plan.steps and progress.waited == 0:
        return (
            "it was still getting better at the end: more --epochs (and --max-steps, if you gave "
            "it) may help"
        )
    return f"it got no better in the last {progress.step - progress.best_step} steps"
