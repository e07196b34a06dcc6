"""Headless Chromium for the tests that need a browser.

They are skipped where it is not installed, unless the environment has REQUIRE_BROWSER=1: then they fail.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def browse(page: Path, budget: int = 5000, window: str = "1200,900") -> str:
    """The document that Chromium makes of a file, after its scripts have run.

    budget: virtual milliseconds for the scripts; window: width and height in pixels.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail("REQUIRE_BROWSER=1, but chromium is not installed")
        pytest.skip("chromium is not installed")
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
               "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
               "--allow-file-access-from-files", f"--user-data-dir={page.parent / 'profile'}",
               f"--window-size={window}", f"--virtual-time-budget={budget}", "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=180).stdout
