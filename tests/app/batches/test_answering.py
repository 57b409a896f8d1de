"""Lines that a full queue refuses are sent again until they are answered, each once."""

from pathlib import Path

from tests.app.answers import assert_error
from tests.app.batches.asking import ended, jsonl, line, lines_of, seen, submit
from tests.server import running
from tests.waiting import wait_until

LINES = 24
SLOW_LINES = 250
QUEUE_TOKENS = 40


def test_a_job_larger_than_the_flex_queue_waits_for_room_and_goes_on(
    original: Path, tmp_path: Path
) -> None:
    """All of its lines are under way at once, while the queue has room for some of them."""
    texts = [f"{n} is a text of some words" for n in range(LINES)]
    bounds = {"max_flex_queue_tokens": QUEUE_TOKENS, "batch_job_inputs": LINES, "cache_bytes": 0}
    with (
        running(model=original, cpu_threads=1, data_dir=tmp_path, **bounds) as service,
        service.client() as client,
    ):
        with service.suspended():
            content = [line(f"c{n}", input=text, dimensions=16) for n, text in enumerate(texts)]
            job = submit(client, jsonl(content))
            wait_until(lambda: service.metric("refused_total", client) > LINES // 2, "refusals")
            held = seen(client, job)
            assert (held["status"], held["request_counts"]["failed"]) == ("in_progress", 0)
            refused = service.embed(input=texts[0], service_tier="flex")
            assert_error(refused, 503, "SERVICE_UNAVAILABLE", "flex")
        job = ended(client, job)
        assert job["status"] == "completed"
        assert job["request_counts"] == {"total": LINES, "completed": LINES, "failed": 0}
        found = lines_of(client, job["output_file_id"])
        assert [each["custom_id"] for each in found] == [f"c{n}" for n in range(LINES)]
        tokens = sum(each["response"]["body"]["usage"]["total_tokens"] for each in found)
        assert tokens == job["progress"]["tokens"] == service.metric("tokens_total", client)
        assert tokens > 3 * QUEUE_TOKENS


def test_a_job_of_more_than_is_done_in_time_is_sent_in_smaller_parts(
    original: Path, tmp_path: Path
) -> None:
    """All of its lines at once take several times as long as a request may."""
    text = "one of many words in a text of some length " * 150
    bounds = {"request_timeout_s": 0.4, "batch_job_inputs": 1000, "cache_bytes": 0}
    with (
        running(model=original, cpu_threads=1, data_dir=tmp_path, **bounds) as service,
        service.client() as client,
    ):
        content = [line(f"c{n}", input=f"{n} {text}", dimensions=16) for n in range(SLOW_LINES)]
        job = ended(client, submit(client, jsonl(content)))
        counts = {"total": SLOW_LINES, "completed": SLOW_LINES, "failed": 0}
        assert job["request_counts"] == counts
        assert 'status="504"' in client.get("/metrics").text, "none was late, and nothing is shown"
