"""Take the README's screenshots again: the newest report of a home, and the page of its endpoint.

`make screenshots` after `make demo`; Chromium draws both (`apt-get install chromium`).
"""

import hashlib
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from PIL import Image

from local.service import LocalService

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
DIGEST = Path(__file__).with_name("drawn.sha256")
# The code that draws the two pages.
DRAWN = (
    *(f"scripts/reporting/{name}" for name in ("page.css", "page.html", "page.py", "plots.py", "svg.py")),
    "entrypoints/serving/page.html",
)
WIDTH, HEIGHT = 860, 700
IN_SERVICE_S = 60


def digest() -> str:
    """The SHA-256 of the code that draws the pages."""
    content = b"".join((ROOT / name).read_bytes() for name in DRAWN)
    return hashlib.sha256(content).hexdigest()


def main(home: Path) -> None:
    from browser import Browser  # in tests/, which is not a package: one of the environment has that name

    # The digest says that the pictures show what the code draws today.
    newest = max((home / "reports").glob("*.html"), key=lambda path: path.stat().st_mtime)
    picture = next((home / "datasets").rglob("3/*.png"))
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalService(home, resume=False) as service,
        Browser(Path(folder) / "profile") as browser,
    ):
        browser.open(newest.resolve().as_uri(), WIDTH, HEIGHT)
        take(browser, Path(folder), "report")
        sagemaker = service.client("sagemaker")
        [endpoint] = sagemaker.list_endpoints()["Endpoints"]
        deadline = time.monotonic() + IN_SERVICE_S
        while (
            sagemaker.describe_endpoint(EndpointName=endpoint["EndpointName"])["EndpointStatus"]
            != "InService"
        ):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        [address] = service.pages()
        with urllib.request.urlopen(address) as page:  # the artifact's own
            if page.read() != (ROOT / DRAWN[-1]).read_bytes():
                sys.exit(f"the endpoint in {home} has another page than {DRAWN[-1]}; run make demo first")
        browser.open(address, WIDTH, HEIGHT)
        browser.drop([picture], WIDTH // 2, 200)
        browser.wait_for("document.querySelector('#results').innerText.includes('%')")
        take(browser, Path(folder), "page")
    DIGEST.write_text(digest() + "\n", encoding="utf-8")


def take(browser: Any, folder: Path, name: str) -> None:
    """The upper part of the page, as a small WebP."""
    file = folder / f"{name}.png"
    browser.screenshot(file)
    with Image.open(file) as image:
        image.crop((0, 0, WIDTH, HEIGHT)).save(IMAGES / f"{name}.webp", quality=80, method=6)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
