"""Runs `quintet train adapter` and `quintet train mini`; their arguments are in arguments.py.

Exit status: 0 done; 2 wrong input (a sentence says what); 130 interrupted.
"""

import argparse
import sys
import warnings

import transformers

from model.config import CheckpointError
from model.training import adapter
from model.training.errors import TrainingError
from model.training.mini import command as mini

# Each raises TrainingError or CheckpointError.
_COMMANDS = {"adapter": adapter.run, "mini": mini.run}
_WRONG_INPUT, _INTERRUPTED = 2, 130


def run(options: argparse.Namespace) -> int:
    """Train; the exit status. Errors are sentences on standard error."""
    # Trainer shows its own progress bar. PEFT uses a deprecated name of transformers.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        _COMMANDS[options.training](options)
    except (TrainingError, CheckpointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return _WRONG_INPUT
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return _INTERRUPTED
    return 0
