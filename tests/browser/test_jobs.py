"""The page shows how far batch jobs are, and leads to what they wrote."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Download, expect

from app.access.keyfile import add_key
from tests.app.batches.asking import ended, jsonl, line, seen, submit
from tests.browser.playground import Playground
from tests.browser.test_look import SCHEMES, UNREADABLE, WIDTHS, show
from tests.server import Service, bearer, running
from tests.waiting import wait_until

pytestmark = pytest.mark.browser

LINES = 400
BOUNDS = {"cpu_threads": 1, "cache_bytes": 0, "batch_job_inputs": 8}


@pytest.fixture(scope="module")
def with_jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(data_dir=tmp_path_factory.mktemp("jobs"), **BOUNDS) as service:
        yield service


@pytest.fixture
def page_of_jobs(with_jobs: Service, browser: Any) -> Iterator[Playground]:
    """A blank page of a service with batch jobs; at its end the console is empty."""
    playground = Playground(browser.new_page(), with_jobs)
    playground.watch()
    yield playground
    playground.page.close()
    assert playground.complaints == []


def large(client: httpx.Client) -> dict[str, Any]:
    """A job of many lines, one of them bad, that has begun."""
    lines = [line(f"c{n}", input=f"{n} is a text", dimensions=16) for n in range(LINES)]
    job = submit(client, jsonl(["no json at all", *lines[1:]]))
    wait_until(lambda: seen(client, job)["request_counts"]["completed"], "a first answer")
    return job


def lines_in(download: Download) -> list[Any]:
    return [json.loads(each) for each in Path(download.path()).read_text().splitlines()]


def test_without_jobs_nothing_of_them_is_shown(playground):
    with playground.page.expect_response("**/v1/batches?*") as listed:
        playground.open()
    assert listed.value.status == 200
    expect(playground.page.locator("#jobs")).to_be_hidden()
    expect(playground.page.get_by_role("link", name="Batch jobs")).to_be_hidden()


def test_a_job_is_shown_as_far_as_it_is_and_its_files_when_it_has_ended(page_of_jobs):
    page, service = page_of_jobs.page, page_of_jobs.service
    row = page.locator("#jobs-list li").first
    with service.client() as client:
        job = large(client)
        with service.suspended():
            # What is written now is what the page will ask for; no further line is answered.
            page.goto(service.url)
            expect(row.locator(".status")).to_have_text("in progress")
            expect(row.get_by_role("link")).to_have_count(0)
            found = seen(client, job)
            assert 0 < found["request_counts"]["completed"] < LINES
            done = found["request_counts"]["completed"] + 1
            said = f"{done} of {LINES} lines1 of them in the error file"
            expect(row.locator(".job-said")).to_contain_text(said)
            expect(row.locator(".job-said")).to_contain_text("lines/s")
            expect(row.locator(".job-said")).to_contain_text("tokens/s")
            expect(row.locator(".job-said")).to_contain_text("left")
            expect(row.get_by_role("progressbar")).to_have_js_property("value", done)
        # By itself, without a click.
        expect(row.locator(".status")).to_have_text("completed")
        expect(row.locator(".job-said")).to_contain_text(f"{LINES} of {LINES} lines")
        assert ended(client, job)["status"] == "completed"
    page.get_by_role("link", name="Batch jobs").click()
    expect(page.locator("#jobs")).to_be_focused()
    with page.expect_download() as saved:
        row.get_by_role("link", name="Output").click()
    names = [each["custom_id"] for each in lines_in(saved.value)]
    assert names == [f"c{n}" for n in range(1, LINES)]
    with page.expect_download() as saved:
        row.get_by_role("link", name="Errors").click()
    (fault,) = lines_in(saved.value)
    assert fault["error"]["code"] == "invalid_json_line"


def test_the_page_asks_no_more_when_all_jobs_have_ended(page_of_jobs):
    page, service = page_of_jobs.page, page_of_jobs.service
    with service.client() as client:
        ended(client, submit(client, jsonl([line("a", input="x")])))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.install()
    page_of_jobs.open()
    page_of_jobs.settled()
    expect(page.locator("#jobs-list .status").first).to_have_text("completed")
    page.clock.run_for(60_000)
    assert sum("/v1/batches" in url for url in asked) == 1


def test_a_failed_job_says_why_and_has_no_files(page_of_jobs):
    with page_of_jobs.service.client() as client:
        assert ended(client, submit(client, b"id,text"))["status"] == "failed"
    page_of_jobs.open()
    page_of_jobs.settled()
    row = page_of_jobs.page.locator("#jobs-list li").first
    expect(row.locator(".status")).to_have_text("failed")
    expect(row).to_contain_text("line 1: ")
    expect(row.get_by_role("link")).to_have_count(0)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_jobs_fit_their_window_and_all_of_them_can_be_read(page_of_jobs, scheme):
    with page_of_jobs.service.client() as client:
        ended(client, submit(client, jsonl(["no json at all", line("a", input="x")])))
        ended(client, submit(client, b"id,text"))
    page_of_jobs.open()
    page_of_jobs.settled()
    expect(page_of_jobs.page.locator("#jobs-list li").first).to_be_visible()
    for width in WIDTHS:
        show(page_of_jobs, scheme, width)
        assert page_of_jobs.overflow() == 0
        assert page_of_jobs.page.evaluate(UNREADABLE) == []


def test_jobs_are_those_of_the_key_and_their_files_are_asked_for_with_it(browser, tmp_path):
    mine, others = (add_key(tmp_path / "keys", name) for name in ("mine", "others"))
    settings = {"keys_file": tmp_path / "keys", "data_dir": tmp_path / "data"}
    with running(**settings, **BOUNDS) as service:
        jobs = {}
        for key in (mine, others):
            with service.client(headers=bearer(key)) as client:
                jobs[key] = ended(client, submit(client, jsonl([line(key[-4:], input="x")])))
        playground = Playground(browser.new_page(), service)
        page = playground.page
        page.goto(service.url)
        page.get_by_label("Key", exact=True).fill(mine)
        page.get_by_label("Key", exact=True).press("Enter")
        row = page.locator("#jobs-list li")
        expect(row).to_have_count(1)
        expect(row.locator("code")).to_have_text(jobs[mine]["id"])
        with page.expect_download() as saved:
            row.get_by_role("link", name="Output").click()
        assert [each["custom_id"] for each in lines_in(saved.value)] == [mine[-4:]]
        assert mine not in page.content()
        page.close()
