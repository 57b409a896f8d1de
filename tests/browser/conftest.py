"""A service and a browser for all tests of this folder, and a fresh page for each."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, expect, sync_playwright

from tests.browser.playground import Playground
from tests.server import Service, running

_PATIENCE_MS = 120_000
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


# Of the package and not of the session: Playwright's event loop runs as long as this does, and
# tests of other folders start loops of their own.
@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """It has a folder for batch jobs and none in it: where it had no folder, browsers would log the
    404 of its list as an error."""
    with running(data_dir=tmp_path_factory.mktemp("batches")) as service:
        yield service


@pytest.fixture(scope="package")
def browser() -> Iterator[BrowserContext]:
    """Chromium, whose pages may use the clipboard. Pages keep nothing, so that one will do."""
    expect.set_options(timeout=_PATIENCE_MS)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        context = chromium.new_context(permissions=["clipboard-read", "clipboard-write"])
        context.set_default_timeout(_PATIENCE_MS)
        yield context
        context.close()
        chromium.close()


@pytest.fixture
def unopened(service: Service, browser: BrowserContext) -> Iterator[Playground]:
    """A page that is still blank; at its end it has asked its own service only."""
    playground = Playground(browser.new_page(), service)
    playground.watch()
    yield playground
    playground.page.close()
    assert playground.hosts <= {service.url}, "the page asked another origin"


@pytest.fixture
def troubled(unopened: Playground) -> Playground:
    """The open playground, for tests in which requests fail: browsers log that as errors. Its first
    question is answered by every task, so that none of those requests fails."""
    unopened.open()
    unopened.settled()
    return unopened


@pytest.fixture
def playground(unopened: Playground) -> Iterator[Playground]:
    """The open playground, which has asked its example; at its end the console is empty."""
    unopened.open()
    unopened.settled()
    yield unopened
    assert unopened.complaints == []


@pytest.fixture
def comparing(unopened: Playground) -> Iterator[Playground]:
    """The playground at "Compare texts", which shows its example; at its end the console is
    empty."""
    unopened.open("#view=compare")
    yield unopened
    assert unopened.complaints == []
