"""Greeting: what the log says when a model is ready, for whoever looks first."""

from app import __version__
from app.engine.messages import Started
from app.settings import Settings
from model.config import EncoderConfig
from model.sources import EMBEDDED_MODEL

SMALL_MODEL_NOTE = (
    "quintet-mini is the small embedded model, for trying everything out, not for production. "
    "Serve the real one with EMBED_MODEL=jinaai/jina-embeddings-v3 (licence CC BY-NC 4.0)."
)


def greeting(
    settings: Settings, config: EncoderConfig, started: Started, names: tuple[str, ...]
) -> list[str]:
    """A few readable lines: model, device, tasks, limits."""
    lines = [
        f"Quintet {__version__}",
        f"  model    {', '.join(names)}: {started.parameters / 1e6:.1f}M parameters, "
        f"{config.num_layers} layers, width {config.hidden_size}; "
        f"loaded in {started.seconds:.1f} s",
        f"  device   {started.device}, {started.dtype}, attention by {started.attention}",
        f"  adapters {', '.join(config.tasks)}; default {settings.default_task}",
        f"  limits   {config.max_tokens} tokens a text, {settings.max_inputs} inputs a request, "
        f"{started.max_batch_tokens} tokens a batch, {settings.max_queue_tokens} tokens queued",
    ]
    if settings.model == EMBEDDED_MODEL:
        lines.append(f"  {SMALL_MODEL_NOTE}")
    return lines
