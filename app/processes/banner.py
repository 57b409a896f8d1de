"""The banner: what the log says when a model is ready, for people and for machines."""

import logging
from typing import Any

from app import __version__
from app.engine.control import WorkerStarted
from app.served_names import MINI_NOTE, served_names
from app.settings import Settings
from app.sockets.address import Address
from model.config import EncoderConfig
from model.hub import EMBEDDED_MODEL

log = logging.getLogger("quintet")


def log_serving(
    settings: Settings, config: EncoderConfig, started: WorkerStarted, address: Address
) -> None:
    """Log that a worker takes requests at that address."""
    facts = _facts(settings, config, started)
    if settings.log_format == "json":
        fields = _event(facts, address)
        log.info(fields["message"], extra={"fields": fields})
    else:
        for line in _lines(facts, address):
            log.info(line)


def _facts(settings: Settings, config: EncoderConfig, started: WorkerStarted) -> dict[str, Any]:
    """What is served, for machines."""
    return {
        "version": __version__,
        "model": settings.model,
        "revision": settings.model_revision,
        "served_names": list(served_names(settings)),
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


def _event(facts: dict[str, Any], address: Address) -> dict[str, Any]:
    """The fields of the one line that a log in JSON gets."""
    event = {"message": f"serving {address.url}", "event": "serving", "address": address.url}
    note = {"note": MINI_NOTE} if facts["model"] == EMBEDDED_MODEL else {}
    return event | facts | note


def _lines(facts: dict[str, Any], address: Address) -> list[str]:
    """A few readable lines: model, device, tasks, limits, address, and the invitation last."""
    limits = facts["limits"]
    note = [f"  {MINI_NOTE}"] if facts["model"] == EMBEDDED_MODEL else []
    return [
        f"Quintet {facts['version']}",
        f"  model    {', '.join(facts['served_names'])}: {facts['parameters'] / 1e6:.1f}M "
        f"parameters, {facts['layers']} layers, width {facts['width']}; "
        f"loaded in {facts['load_seconds']:.1f} s",
        f"  device   {facts['device']}, {facts['dtype']}, attention by {facts['attention']}",
        f"  adapters {', '.join(facts['tasks'])}; default {facts['default_task']}",
        f"  limits   {limits['max_tokens']} tokens a text, {limits['max_inputs']} inputs a "
        f"request, {limits['max_batch_tokens']} tokens a batch, "
        f"{limits['max_queue_tokens']} tokens queued",
        *note,
        f"  serving  {address.url}",
        f"  open {address.browser_url} in a browser",
    ]
