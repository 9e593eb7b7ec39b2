"""Gives up what LibreOffice does not need, and becomes LibreOffice, which converts one document to PDF.

`office` starts python -m pipeline.rasterize.office_main INSTALLATION SCRATCH PARENT BYTES FILE_BYTES [FLAG]
[DOCUMENT]. What is confined stays so in the program that this one becomes. Without a document it makes its
profile alone.
"""

import os
import sys
from collections.abc import Sequence

from pipeline.rasterize.bounds import be_bounded
from pipeline.rasterize.confinement import confine
from pipeline.rasterize.profiles import converting

QUIETLY = ("--headless", "--invisible", "--norestore", "--nologo", "--nolockcheck", "--nodefault")


def main(
    installation: str, scratch: str, parent: int, memory: int, file_bytes: int, given: Sequence[str]
) -> None:
    """Never comes back."""
    be_bounded(parent, memory, file_bytes=file_bytes)
    program = os.path.join(installation, "program", "soffice.bin")
    arguments = [program, f"-env:UserInstallation=file://{scratch}/profile", *QUIETLY]
    if given:
        arguments += ["--convert-to", "pdf", "--outdir", scratch, *given]
    else:
        arguments += ["--terminate_after_init"]
    places = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), scratch)
    # Where it listens for a second LibreOffice, which never comes. A socket's path has 107 bytes at most.
    os.chdir(scratch)
    places["OSL_SOCKET_PATH"] = "."
    confine(converting(installation, scratch))
    os.execve(program, arguments, places | {"LANG": "C.UTF-8", "SAL_USE_VCLPLUGIN": "svp"})


if __name__ == "__main__":
    where, folder, worker, most, most_file = sys.argv[1:6]
    main(where, folder, int(worker), int(most), int(most_file), sys.argv[6:])
