"""Opens and draws every page of the files in a folder in a sandbox; a JSON line says what came of each file.

A program of its own, so that several can run at once: python -m tests.pipeline.outcome FOLDER
"""

import json
import sys
from pathlib import Path
from typing import Any

from pipeline.ingest.file_types import DocumentError, PageError
from pipeline.plan.limits import Limits
from pipeline.rasterize.sandbox import Sandbox


def outcome(sandbox: Sandbox, path: Path) -> dict[str, Any]:
    """The file's page count, the pages that were drawn, and the reasons of what failed."""
    try:
        document = sandbox.open(path.read_bytes(), path.name)
    except DocumentError as error:
        return {"file": path.name, "pages": None, "drawn": 0, "reasons": [error.reason]}
    drawn, reasons = 0, []
    with document:
        for page in range(1, document.page_count + 1):
            try:
                pixels, _, _ = document.draw(page, max_side=512, patch_size=16)
            except PageError as error:
                reasons.append(error.reason)
            else:
                assert pixels.size > 0
                drawn += 1
        return {"file": path.name, "pages": document.page_count, "drawn": drawn, "reasons": reasons}


if __name__ == "__main__":
    sandbox = Sandbox(Limits())
    for file in sorted(Path(sys.argv[1]).iterdir()):
        if file.name != "INDEX.tsv":
            print(json.dumps(outcome(sandbox, file)), flush=True)
    assert sandbox.starts == 1, "a file killed the child"
