"""Bodies of the routes of batch jobs, with the descriptions of the OpenAPI document."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.api.request_models import RequestBody, Size
from app.api.response_models import ResponseModel
from app.batches.metadata import Metadata
from model.quoting import quoted

_WINDOW = re.compile(r"[1-9][0-9]{0,3}[hd]")


def _window(value: str) -> str:
    if not _WINDOW.fullmatch(value):
        raise PydanticCustomError(
            "string_pattern_mismatch",
            "must be 1 to 9999 hours or days, as 24h or 7d, not {value}",
            {"value": quoted(value)},
        )
    return value


# Whole hours or days.
Window = Annotated[
    str,
    AfterValidator(_window),
    WithJsonSchema({"type": "string", "pattern": f"^{_WINDOW.pattern}$"}),
]
Endpoint = Literal["/v1/embeddings", "/v1/documents"]


class BatchRequest(RequestBody):
    """The body of POST /v1/batches."""

    input_file_id: str = Field(description="An uploaded file, of which each line is a request.")
    endpoint: Endpoint = Field(description="Where all lines go; each has it as its `url`.")
    completion_window: Window = Field(
        "24h",
        description="After how many hours (`24h`) or days (`7d`) the job expires.",
    )
    metadata: Metadata | None = Field(None, description="Comes back with the job.")


class JinaBatchRequest(RequestBody):
    """The body of POST /v1/batch/embeddings. Further fields are those of POST /v1/embeddings."""

    model_config = ConfigDict(extra="allow")

    input: list[Any] | None = Field(None, description="Texts, at most 10,000.")
    input_file: str | None = Field(
        None, description='The id of an uploaded file, of which each line is `{"input": "text"}`.'
    )
    model: str | None = Field(None, description="A served name.")
    task: str | None = Field(None, description="As in POST /v1/embeddings.")
    dimensions: Size | None = Field(None, description="As in POST /v1/embeddings.")
    normalized: bool | None = Field(
        None, description="As in POST /v1/embeddings: `true` where it is absent."
    )


class FileForm(BaseModel):
    """The form of POST /v1/files."""

    file: str = Field(
        description="The content, with a filename.", json_schema_extra={"format": "binary"}
    )
    purpose: Literal["batch"] = Field(description="Files are for batch jobs.")
    expires_after: int | None = Field(
        None,
        alias="expires_after[seconds]",
        ge=1,
        description="Seconds after which it is deleted, if that is sooner than `EMBED_DATA_DAYS`.",
    )


class FileObject(ResponseModel):
    """A file, in OpenAI's form."""

    id: str
    """Its name in other requests."""
    object: Literal["file"]
    """Always `file`."""
    bytes: int
    """Its size."""
    created_at: int
    """In seconds since 1970, as all times."""
    expires_at: int
    """When it is deleted."""
    filename: str
    """As it was uploaded, or as the job is called."""
    purpose: str
    """`batch` was uploaded, `batch_output` was written by a job."""
    status: Literal["processed"]
    """Always `processed`."""


class FileList(ResponseModel):
    """The answer of GET /v1/files, the newest first."""

    object: Literal["list"]
    """Always `list`."""
    data: list[FileObject]
    """The files of a page."""
    first_id: str | None
    """Of the page."""
    last_id: str | None
    """Of the page: `after` for the next one."""
    has_more: bool
    """Whether there is a next page."""


class FileDeleted(ResponseModel):
    """The answer of DELETE /v1/files/{id}."""

    id: str
    """Of the file."""
    object: Literal["file"]
    """Always `file`."""
    deleted: bool
    """Always true."""


class BatchError(ResponseModel):
    """Why a job failed, or what it waits for."""

    code: str
    """A word for it."""
    line: int | None
    """Of the input file."""
    message: str
    """A sentence for it."""
    param: str | None
    """Always null."""


class BatchErrors(ResponseModel):
    """The first of them."""

    object: Literal["list"]
    """Always `list`."""
    data: list[BatchError]
    """At most ten."""


class RequestCounts(ResponseModel):
    """Lines of the input file."""

    total: int
    """All but blank ones."""
    completed: int
    """Those in the output file."""
    failed: int
    """Those in the error file."""


class BatchProgress(ResponseModel):
    """How fast a job goes on."""

    requests_per_s: float
    """Over the last minute."""
    tokens_per_s: float
    """Likewise."""
    tokens: int
    """Tokens that were charged so far."""
    seconds_left: int | None
    """How long it will take if it goes on like that; null where that is not known."""


class BatchObject(ResponseModel):
    """A batch job, in OpenAI's form."""

    id: str
    """Its name in other requests."""
    object: Literal["batch"]
    """Always `batch`."""
    endpoint: str
    """Where its lines go."""
    errors: BatchErrors | None
    """Why it failed, or what it waits for."""
    input_file_id: str
    """The file of its requests."""
    completion_window: str
    """As it was asked for."""
    status: str
    """`validating`, `failed`, `in_progress`, `finalizing`, `completed`, `expired`, `cancelling` or
    `cancelled`."""
    output_file_id: str | None
    """What was answered, when the job has ended."""
    error_file_id: str | None
    """What was refused or could not be read."""
    created_at: int
    """In seconds since 1970, as all times."""
    in_progress_at: int | None
    """When its file was validated."""
    expires_at: int
    """When its window is over."""
    finalizing_at: int | None
    """When its last line was answered."""
    completed_at: int | None
    """When it was completed."""
    failed_at: int | None
    """When it failed."""
    expired_at: int | None
    """When it expired."""
    cancelling_at: int | None
    """When it was cancelled."""
    cancelled_at: int | None
    """When that was done."""
    request_counts: RequestCounts
    """How many of its lines are done."""
    metadata: dict[str, str] | None
    """As it was sent."""
    progress: BatchProgress
    """How fast it goes on."""


class BatchList(ResponseModel):
    """The answer of GET /v1/batches, the newest first."""

    object: Literal["list"]
    """Always `list`."""
    data: list[BatchObject]
    """The jobs of a page."""
    first_id: str | None
    """Of the page."""
    last_id: str | None
    """Of the page: `after` for the next one."""
    has_more: bool
    """Whether there is a next page."""


class JinaSubmitted(ResponseModel):
    """The answer of POST /v1/batch/embeddings."""

    batch_id: str
    """Its name in other requests."""
    status: Literal["submitted"]
    """Always `submitted`."""
    created_at: int
    """In seconds since 1970."""


class JinaStats(ResponseModel):
    """Inputs and tokens of a job."""

    total: int
    """Inputs of the job."""
    completed: int
    """Those in its output."""
    failed: int
    """Those in its errors."""
    total_tokens: int
    """Tokens that were charged so far."""


class JinaBatch(ResponseModel):
    """A batch job, in Jina's form."""

    batch_id: str
    """Its name in other requests."""
    status: Literal["submitted", "processing", "completed", "failed", "cancelled"]
    """One that expired has `failed`."""
    stats: JinaStats
    """How far it is."""
    output_url: str
    """Where its answers are when it has ended."""
    errors_url: str
    """Where its errors are then."""
    created_at: int
    """In seconds since 1970."""
    completed_at: int | None
    """When it ended."""
    error: str | None
    """Why it failed, or what it waits for."""
