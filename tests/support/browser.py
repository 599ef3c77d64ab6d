"""A headless Chromium for the tests of pages."""

import contextlib
import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser, closed at the end of the block. Without Chromium on this machine the test is skipped; in CI it fails.

    While it is open no other event loop can run in this thread.
    """
    program = shutil.which("chromium")
    if not program and not os.environ.get("CI"):
        pytest.skip("no chromium on this machine; Debian's package has it")
    assert program, "CI is set: chromium has to be installed"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()
