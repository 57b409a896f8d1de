"""The command line: `python -m app serve`, and the small tools.

serve      run the service; settings are EMBED_* variables
embed      embed a file's texts by a running service or one of its own
tokens     count a file's tokens
keys       make, list and remove API keys
verify     compare a checkpoint with published values of the real weights
openapi    print the served OpenAPI document
settings   print the table of settings
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence

from app import __version__
from app.engine.place import place_of
from app.logs import configure_logging
from app.settings import PREFIX, Settings, SettingsError, read_settings
from app.tools import embed, keys, tokens
from model.config import CheckpointError

_TOOLS = (
    ("embed", embed, "embed a file's texts by a running service or one of its own"),
    ("tokens", tokens, "count a file's tokens"),
    ("keys", keys, "make, list and remove API keys"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    parser = argparse.ArgumentParser("python -m app", description="Quintet, an embeddings service.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="run the service; settings are EMBED_* variables")
    verify = commands.add_parser("verify", help="compare a checkpoint with published values")
    verify.add_argument("--model", help="folder or hub id (default: EMBED_MODEL)")
    verify.add_argument("--revision", help="commit, tag or branch of the hub id")
    verify.add_argument("--golden", help="other values to compare with (a JSON file)")
    verify.add_argument("--device", default="auto", help="cpu, cuda:0, ... (default: auto)")
    for name, tool, meaning in _TOOLS:
        tool.add_arguments(commands.add_parser(name, help=meaning))
    commands.add_parser("openapi", help="print the served OpenAPI document")
    commands.add_parser("settings", help="print the table of settings")
    options = parser.parse_args(arguments)
    try:
        return _COMMANDS[options.command](options)
    except (CheckpointError, SettingsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _serve(_: argparse.Namespace) -> int:
    settings = read_settings()
    configure_logging(settings.log_format)
    with place_of(settings.http_processes, len(settings.devices)) as place:
        from app.server import serve  # noqa: PLC0415  (the other commands need no web framework)

        return serve(settings, place)


def _verify(options: argparse.Namespace) -> int:
    # Torch enters this process here; serving never comes this way.
    from model.verify import verify  # noqa: PLC0415

    settings = read_settings()
    model, revision = options.model or settings.model, options.revision or settings.model_revision
    return verify(model, revision, options.golden, options.device)


def _openapi(_: argparse.Namespace) -> int:
    from app.main import create_app  # noqa: PLC0415

    print(json.dumps(create_app(Settings()).openapi(), indent=2, ensure_ascii=False))
    return 0


def _settings(_: argparse.Namespace) -> int:
    print(settings_table())
    return 0


def settings_table() -> str:
    """The settings as a Markdown table, which the README has."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        value = ",".join(field.default) if isinstance(field.default, tuple) else field.default
        default = f"`{value}`" if value not in (None, "") else "unset"
        rows.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "serve": _serve,
    "verify": _verify,
    "openapi": _openapi,
    "settings": _settings,
    **{name: tool.run for name, tool, _ in _TOOLS},
}

if __name__ == "__main__":
    sys.exit(main())
