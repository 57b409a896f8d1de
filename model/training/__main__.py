"""The command line: `python -m model.training adapter`."""

import argparse
import sys
import warnings
from collections.abc import Sequence

import transformers

from model.config import CheckpointError
from model.training import adapter
from model.training.errors import TrainingError
from model.training.mini import command

# Each has add_arguments(parser) and run(options), which raises TrainingError or CheckpointError.
COMMANDS = {
    "adapter": (adapter, "teach one task on data of your own"),
    "mini": (command, "make the embedded model anew"),
}
_WRONG_INPUT, _INTERRUPTED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit status."""
    parser = argparse.ArgumentParser("python -m model.training")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (module, what) in COMMANDS.items():
        module.add_arguments(commands.add_parser(name, help=what, description=what))
    options = parser.parse_args(arguments)
    # The commands have bars of their own. PEFT asks transformers for a name that is going away.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        COMMANDS[options.command][0].run(options)
    except (TrainingError, CheckpointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return _WRONG_INPUT
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return _INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
