"""The settings of the service, read from the environment once and frozen."""

import os
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.environment import (
    DIALECTS,
    Devices,
    Dialects,
    Host,
    Hosts,
    Names,
    Origins,
    invalid_values,
    unknown_variable,
)
from model.hub import EMBEDDED_MODEL
from model.proxies import is_loopback
from model.tasks import DEFAULT_TASK

PREFIX = "EMBED_"
# Bytes of a request before its body.
MAX_HEAD_BYTES = 32_768
# Where files of batch jobs are uploaded, which may be larger than other bodies.
UPLOAD_PATH = "/v1/files"
# The slowest upload that goes on: 1 Mbit a second.
_UPLOAD_BYTES_PER_S = 125_000
# More seconds are a mistake, milliseconds for instance, and would hold up an end for good.
_DAY_S = 86_400


class SettingsError(Exception):
    """Settings that the service cannot start with; the sentence names the variable."""


class Settings(BaseModel):
    """Each field is the variable EMBED_<NAME>; its description says when to change it.

    An empty variable is an unset one: compose and shell scripts pass those on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str = Field(
        EMBEDDED_MODEL,
        min_length=1,
        description="The checkpoint: a folder, a hub id such as `jinaai/jina-embeddings-v3`, or "
        "the embedded `quintet-mini`.",
    )
    model_revision: str | None = Field(
        None, description="Commit, tag or branch of the hub id. Pin a commit in production."
    )
    host: Host = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    http_processes: int | None = Field(
        None,
        ge=1,
        le=64,
        description="Processes that share the port and parse, tokenise and encode. Unset is 1, and "
        "for each GPU that `EMBED_DEVICES` names as many as there are cores to spare, up to 8 (but "
        "1 with limits and without `EMBED_REDIS_URL`): one serves 1,000 to 2,000 short queries a "
        "second, and a GPU many more.",
    )
    keys_file: str | None = Field(
        None,
        description="File with the digests of API keys, which `quintet keys` writes; it is "
        "read again when it changes. Unset asks nobody for a key.",
    )
    open: bool = Field(
        False,
        description="`true` lets the service listen on an address that others can reach though "
        "there is no `EMBED_KEYS_FILE`.",
    )
    metrics_open: bool = Field(
        True, description="`false` asks for a key at /metrics too, where there are keys."
    )
    cors_origins: Origins = Field(
        (),
        description="Comma-separated origins (`https://app.example`) whose pages a browser lets "
        "use this service; `*` is all.",
    )
    allowed_hosts: Hosts = Field(
        (),
        description="Comma-separated names and addresses under which the service answers besides "
        "localhost, whatever the port; `*` is all. Unset is all too, but for a service without "
        "keys on a loopback address: behind a proxy that passes on its own name, name it here.",
    )
    max_requests_per_minute: int | None = Field(
        None,
        ge=1,
        description="Requests of one key (without keys: of one address) a minute; past it they "
        "are answered 429 with Retry-After. The minute slides, and takes the one before it as "
        "evenly spread: right after a burst up to twice as many may pass. Unset is no limit, here "
        "and in the next one.",
    )
    max_tokens_per_minute: int | None = Field(
        None, ge=1, description="Tokens of one key or address a minute, counted likewise."
    )
    redis_url: str | None = Field(
        None,
        description="`redis://host:6379/0`: where several replicas count those limits together "
        "(the extra `redis`). Unset counts in each process for itself.",
    )
    devices: Devices = Field(
        ("auto",),
        description="Comma-separated devices (`cpu`, `cuda:0`), a worker for each. `auto` is the "
        "first GPU, or the CPU where there is none. `cpu,cpu` shares its cores between two "
        "workers: a tenth more under load on two cores, for a second copy of the weights.",
    )
    cpu_threads: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Threads that each worker on a CPU computes with. Unset takes the cores that "
        "the service may use (affinity and the control group's quota), shared out among workers. "
        "Lower it where other programs keep cores busy: two threads on one are slower than one.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = Field(
        "auto",
        description="What weights are computed in. `auto` is bfloat16 where the hardware "
        "multiplies it; else float32, or `float16` for a large model on a CPU with AVX2 only: "
        "there weights have 16 bits, and products are float32's. `int8` is for a large model on a "
        "CPU: half the memory of bfloat16 for the layers, faster, and slightly other vectors.",
    )
    adapters: Literal["auto", "merged", "stacked"] = Field(
        "auto",
        description="`merged` has a copy of the weights for each adapter, `stacked` one "
        "copy and small corrections: less memory (by 3 GB for jina-embeddings-v3), but slower. "
        "`auto` merges on a GPU where that takes at most half of the free memory, and on a CPU one "
        "adapter at a time, after a while of one task. In int8 all stay stacked.",
    )
    max_batch_tokens: int | None = Field(
        None,
        ge=1,
        le=131_070,  # in rows of two tokens, the shortest, that is model.rows.MAX_ROWS
        description="Tokens of one forward pass; a longer text goes alone. Lower it for quicker "
        "single queries beside bulk work, raise it for throughput on a big GPU. Unset is 2048 on "
        "a CPU and 32768 on a GPU; at most 131070, as FlashAttention takes 65,535 rows at once.",
    )
    max_queue_tokens: int = Field(
        1_048_576,
        ge=1,
        description="Tokens that may wait for a worker; past it a request is answered 503 with "
        "Retry-After. Lower it to refuse early, raise it to absorb bursts.",
    )
    max_flex_queue_tokens: int | None = Field(
        None,
        ge=1,
        description='The same for requests with `"service_tier": "flex"`, which wait in a queue '
        "of their own. Unset is half of `EMBED_MAX_QUEUE_TOKENS`. Lower it where they wait so long "
        "that they are answered 504.",
    )
    flex_share: float = Field(
        0.1,
        gt=0,
        le=0.5,  # more may not fit beside rows of any length
        description="The share of a worker's tokens that flex requests get at least while any "
        "wait; others go first, and what they leave is flex's too. Raise it where bulk must be "
        "done in time, lower it for quicker queries under full load.",
    )
    cache_bytes: int = Field(
        67_108_864,
        ge=0,
        description="Bytes of vectors that each HTTP process keeps, so that a text which comes "
        "again with the same task is not computed again; texts that wait at the same time are "
        "computed once. In 64 MiB there are 15,000 vectors of 1,024 dimensions. Raise it where "
        "many queries repeat (`quintet_rows_total` counts them); 0 turns both off.",
    )
    max_inputs: int = Field(2048, ge=1, description="Inputs of one request.")
    max_body_bytes: int = Field(33_554_432, ge=1, description="Bytes of one request's body.")
    max_bodies_bytes: int = Field(
        268_435_456,
        ge=1,
        description="Bytes of all bodies that one process reads and answers at once, but for the "
        "first 64 KiB of each, so that small requests pass; past it a request is answered 503 with "
        "Retry-After. A process takes three to six times as much memory for them, and up to four "
        "times for answers that callers are slow to read: past that the one that has waited "
        "longest is cut off. Lower it where memory is scarce, raise it for many large requests at "
        "once.",
    )
    body_timeout_s: float = Field(
        30.0,
        gt=0,
        le=_DAY_S,
        description="Seconds within which a request's body must have arrived.",
    )
    max_connections: int = Field(
        2048,
        ge=1,
        description="Open connections. One more makes the oldest idle one give way, or is answered "
        "503 where all are busy. The limit of open files is raised to fit, if the system lets it.",
    )
    keep_alive_s: int = Field(
        75,
        ge=1,
        le=_DAY_S,
        description="Seconds after which an idle connection is closed. Keep it above the idle "
        "time of the balancer in front, usually 60 s.",
    )
    header_timeout_s: float = Field(
        10.0,
        gt=0,
        le=_DAY_S,
        description="Seconds within which a request's headers must have arrived.",
    )
    send_timeout_s: float = Field(
        20.0,
        gt=0,
        le=_DAY_S,
        description="Seconds after which a caller who reads nothing of its answer is cut off.",
    )
    max_document_tokens: int = Field(
        131_072,
        ge=1,
        description="Tokens of a late-chunked document that is read in overlapping windows.",
    )
    data_dir: str | None = Field(
        None,
        description="Folder for batch jobs and their files, on a local disk. Unset has no batch "
        "jobs: their routes are answered 404. One service or `quintet batches` has a folder.",
    )
    max_file_bytes: int = Field(
        209_715_200, ge=1, description="Bytes of one uploaded file of a batch job."
    )
    max_file_lines: int = Field(
        50_000, ge=1, description="Lines of one batch job, each of them a request."
    )
    max_data_bytes: int = Field(
        21_474_836_480,
        ge=1,
        description="Bytes of all files of batch jobs, answers too: a vector of 1,024 dimensions "
        "takes 12 KB, as base64 6 KB. Past it uploads are refused, and jobs wait until files are "
        "deleted or expire.",
    )
    data_days: float = Field(
        30.0,
        gt=0,
        le=36_500,
        description="Days after which files and ended batch jobs are deleted.",
    )
    max_batch_jobs: int = Field(
        1000,
        ge=1,
        description="Batch jobs of one key (without keys: of all callers) that have not ended. "
        "Past it a new one is answered 429.",
    )
    batch_job_inputs: int = Field(
        512,
        ge=1,
        description="Inputs of all batch jobs that are sent and not answered at once. Raise it "
        "where a GPU or several replicas have more room than that.",
    )
    default_task: str = Field(
        DEFAULT_TASK,
        min_length=1,
        description="The task of a request that names none. `none` is the base model, without an "
        "adapter and an instruction, which is what Jina's hosted API does now.",
    )
    served_model_names: Names = Field(
        (),
        description="Comma-separated further names that requests may ask for; the first one is "
        "what answers are signed with when a request names no model.",
    )
    dialects: Dialects = Field(
        DIALECTS,
        description="Comma-separated other APIs whose routes are served too: Cohere's, Google's, "
        "Ollama's, text-embeddings-inference's (`tei`), Voyage's. `none` serves none of them.",
    )
    request_timeout_s: float = Field(
        600.0,
        gt=0,
        le=_DAY_S,
        description="Seconds until a request that still waits is answered 504.",
    )
    batch_timeout_s: float = Field(
        300.0,
        gt=0,
        le=_DAY_S,
        description="Seconds that a worker which holds requests may say nothing; then it hangs: it "
        "is killed and started again, and what it held is answered 503. Keep it above the longest "
        "batch: a text of 8,192 tokens takes a slow CPU minutes. Lower it on a GPU, to 30.",
    )
    drain_delay_s: float = Field(
        5.0,
        ge=0,
        le=_DAY_S,
        description="Seconds between SIGTERM, when /ready turns 503, and the closing of the "
        "port: the time a load balancer needs to look away.",
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Log lines for people or for machines."
    )

    @property
    def flex_queue_tokens(self) -> int:
        """Tokens that may wait for a worker in the flex lane."""
        return self.max_flex_queue_tokens or max(self.max_queue_tokens // 2, 1)

    @property
    def has_limits(self) -> bool:
        """Whether callers have rate limits."""
        return bool(self.max_requests_per_minute or self.max_tokens_per_minute)

    def checkpoint(self, model: str | None, revision: str | None) -> tuple[str, str | None]:
        """The model and revision that a command names, or those of the settings, whose revision is
        of their own model."""
        if model in (None, self.model):
            return self.model, revision or self.model_revision
        return model, revision

    def upload_timeout_s(self, received: int) -> float:
        """Seconds that an uploaded file may take of which so many bytes have arrived."""
        return self.body_timeout_s + received / _UPLOAD_BYTES_PER_S


def check_servable(settings: Settings) -> None:
    """Refuse settings that must not be served.

    Raises:
        SettingsError: whoever reaches the port could use it without a key, and OPEN does not allow
            that; limits would be counted by each of several processes for itself; or the largest
            body would never pass.
    """
    if not (settings.keys_file or settings.open or is_loopback(settings.host)):
        raise SettingsError(
            f"{PREFIX}HOST={settings.host} can be reached by others, and there are no keys. Set "
            f"{PREFIX}KEYS_FILE (make a key with `quintet keys add NAME`), or say "
            f"{PREFIX}OPEN=true if everyone who reaches the port may use it."
        )
    if settings.max_bodies_bytes < settings.max_body_bytes:
        raise SettingsError(
            f"{PREFIX}MAX_BODIES_BYTES={settings.max_bodies_bytes} is less than one body may have: "
            f"{PREFIX}MAX_BODY_BYTES={settings.max_body_bytes}."
        )
    processes = settings.http_processes or 1
    if processes > 1 and settings.has_limits and not settings.redis_url:
        raise SettingsError(
            f"{PREFIX}HTTP_PROCESSES={processes} would each count limits for itself: set "
            f"{PREFIX}REDIS_URL, or leave one of them."
        )


def read_settings() -> Settings:
    """Settings from the environment.

    Raises:
        SettingsError: a value does not fit, or a variable EMBED_* is unknown: a mistyped name
            would silently leave the setting at its default.
    """
    names = {PREFIX + name.upper(): name for name in Settings.model_fields}
    if sentence := unknown_variable(os.environ, PREFIX, names):
        raise SettingsError(sentence)
    given = {name: value for each, name in names.items() if (value := os.environ.get(each))}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        raise SettingsError(invalid_values(error, PREFIX)) from None
