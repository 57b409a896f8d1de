"""The names that requests may ask for, and the note on quintet-mini."""

from pathlib import Path

from app.settings import Settings

MINI_NOTE = (
    "quintet-mini is the small embedded model. The real one knows far more: "
    "EMBED_MODEL=jinaai/jina-embeddings-v3 (licence CC BY-NC 4.0)."
)


def served_names(settings: Settings) -> tuple[str, ...]:
    """Those of EMBED_SERVED_MODEL_NAMES, then the model's.

    A hub id answers to its last part too: jinaai/jina-embeddings-v3 to jina-embeddings-v3.
    """
    model = settings.model
    if Path(model).exists():
        names = [Path(model).expanduser().resolve().name]
    else:
        names = [model.rpartition("/")[2], model]
    return tuple(dict.fromkeys((*settings.served_model_names, *names)))
