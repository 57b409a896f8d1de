"""Greeting: what the log says when a model is ready, for whoever looks first."""

from typing import Any

from app import __version__
from app.engine.messages import Started
from app.settings import Settings
from app.sockets.address import Address
from model.config import EncoderConfig
from model.hub import EMBEDDED_MODEL

SMALL_MODEL_NOTE = (
    "quintet-mini is the small embedded model, for trying everything out, not for production. "
    "Serve the real one with EMBED_MODEL=jinaai/jina-embeddings-v3 (licence CC BY-NC 4.0)."
)


def facts(
    settings: Settings, config: EncoderConfig, started: Started, names: tuple[str, ...]
) -> dict[str, Any]:
    """What is served, for machines: to be said as `event` or as `lines`."""
    return {
        "version": __version__,
        "model": settings.model,
        "revision": settings.model_revision,
        "served_names": list(names),
        "parameters": started.parameters,
        "layers": config.num_layers,
        "width": config.hidden_size,
        "load_seconds": round(started.seconds, 1),
        "device": started.device,
        "dtype": started.dtype,
        "attention": started.attention,
        "tasks": list(config.tasks),
        "default_task": settings.default_task,
        "limits": {
            "max_tokens": config.max_tokens,
            "max_inputs": settings.max_inputs,
            "max_batch_tokens": started.max_batch_tokens,
            "max_queue_tokens": settings.max_queue_tokens,
        },
    }


def event(known: dict[str, Any], address: Address) -> dict[str, Any]:
    """The fields of the one line that a log in JSON gets."""
    own = {"message": f"serving {address.url}", "event": "serving", "address": address.url}
    note = {"note": SMALL_MODEL_NOTE} if known["model"] == EMBEDDED_MODEL else {}
    return own | known | note


def lines(known: dict[str, Any], address: Address) -> list[str]:
    """A few readable lines: model, device, tasks, limits, address, and the invitation last."""
    limits = known["limits"]
    note = [f"  {SMALL_MODEL_NOTE}"] if known["model"] == EMBEDDED_MODEL else []
    return [
        f"Quintet {known['version']}",
        f"  model    {', '.join(known['served_names'])}: {known['parameters'] / 1e6:.1f}M "
        f"parameters, {known['layers']} layers, width {known['width']}; "
        f"loaded in {known['load_seconds']:.1f} s",
        f"  device   {known['device']}, {known['dtype']}, attention by {known['attention']}",
        f"  adapters {', '.join(known['tasks'])}; default {known['default_task']}",
        f"  limits   {limits['max_tokens']} tokens a text, {limits['max_inputs']} inputs a "
        f"request, {limits['max_batch_tokens']} tokens a batch, "
        f"{limits['max_queue_tokens']} tokens queued",
        *note,
        f"  serving  {address.url}",
        f"  open {address.browser_url} in a browser",
    ]
