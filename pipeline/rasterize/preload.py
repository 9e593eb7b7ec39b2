"""Loads what the libraries of a sandboxed process would load when a document first needs it.

After that the process cannot open a file: neither a plugin of Pillow's, nor a codec, nor an encoding. MuPDF
has its fonts, CMaps and colour profiles inside. Libraries that would start threads are told to start none.
"""

import importlib
import time
from typing import Final

import pi_heif
from PIL import AvifImagePlugin, Image

from pipeline.ingest.file_types import IMAGES

# Of metadata, passwords and messages; each is a module, which Python loads when it is first named.
ENCODINGS: Final = (
    "ascii latin_1 cp437 cp1252 mac_roman raw_unicode_escape"
    " utf_8 utf_8_sig utf_16 utf_16_be utf_16_le utf_32"
)


def preload() -> None:
    """Does it, once and before the process is confined."""
    pi_heif.register_heif_opener(thumbnails=False)
    pi_heif.options.DECODE_THREADS = 1
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    Image.init()
    for name in ENCODINGS.split():
        importlib.import_module(f"encodings.{name}")
    importlib.import_module("numpy.ma")  # for `median`, `unique` and others of NumPy's
    time.tzset()
    missing = {kind.pillow for kind in IMAGES.values()} - set(Image.OPEN)
    assert not missing, missing
