"""`office_main` without a confinement, in which the programs in the place of LibreOffice could not run."""

import sys
from typing import Any

from pipeline.rasterize import office_main

if __name__ == "__main__":
    vars(office_main)["confine"] = lambda profile: None
    where, folder, *numbers = sys.argv[1:6]
    settings: list[Any] = [where, folder, *map(int, numbers), sys.argv[6:]]
    office_main.main(*settings)
