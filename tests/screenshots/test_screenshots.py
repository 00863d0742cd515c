"""The README's screenshots show what the code draws today."""

import runpy
from pathlib import Path


def test_they_were_taken_of_what_draws_the_pages_now():
    """`make demo`, then `make screenshots`, and look at docs/images."""
    screenshots = Path(__file__).parent
    digest = runpy.run_path(str(screenshots / "write.py"))["digest"]()
    assert (screenshots / "drawn.sha256").read_text().strip() == digest
