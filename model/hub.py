"""Hub: a model's name -> its folder: the embedded model, a folder, or a download from the hub."""

from json import JSONDecodeError
from pathlib import Path

from model.config import CheckpointError
from model.proxies import proxy_refusal

EMBEDDED_MODEL = "quintet-mini"
EMBEDDED_FOLDER = Path(__file__).parent / "mini"
# Safetensors and JSON only: no pickles, no code, no ONNX files.
HUB_FILES = [
    "config.json",
    "tokenizer.json",
    "model*.safetensors",
    "*/adapter_config.json",
    "*/adapter_model.safetensors",
]


def locate(model: str, revision: str | None = None) -> Path:
    """The folder of a checkpoint: the embedded one by its name, `model` itself if it is a folder,
    or the local copy of a hub id.

    A hub id is downloaded once, with a progress bar, into the local cache (HF_HOME); afterwards,
    and always with HF_HUB_OFFLINE=1, it is looked up there.

    Raises:
        CheckpointError: there is no such folder or hub id, or it cannot be fetched.
    """
    if model == EMBEDDED_MODEL:
        return EMBEDDED_FOLDER
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder.resolve()
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise CheckpointError(
            f"{model} is neither a folder nor a hub id, which is owner/name, such as "
            "jinaai/jina-embeddings-v3."
        )
    from huggingface_hub import snapshot_download  # noqa: PLC0415  (slow, and needed for hub ids only)
    from huggingface_hub.errors import HFValidationError  # noqa: PLC0415

    where = f"{model} at revision {revision}" if revision else model
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=HUB_FILES))
    except Exception as error:  # the library lets errors of its HTTP client through
        of_hub = isinstance(error, HFValidationError | JSONDecodeError | OSError)
        if isinstance(error, ImportError | ValueError) and not of_hub:
            raise CheckpointError(f"cannot fetch {model}: {proxy_refusal(error)}") from error
        first_line = str(error).strip().partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"cannot fetch {where} from the hub: {first_line}") from error
