"""The LibreOffice of this machine, which converts office files: it is found on PATH, and never bundled."""

import os
import shutil
from functools import cache


@cache
def installation() -> str | None:
    """The folder of LibreOffice, whose program lies in `program/soffice.bin`; None where there is none."""
    found = shutil.which("soffice") or shutil.which("libreoffice")
    folder = os.path.dirname(os.path.dirname(os.path.realpath(found))) if found else ""
    return folder if os.path.exists(os.path.join(folder, "program", "soffice.bin")) else None
