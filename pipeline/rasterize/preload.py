"""Loads what the libraries of a sandboxed process would load when a document first needs it.

After that the process cannot open a file: neither a plugin of Pillow's, nor a codec, nor an encoding. MuPDF
has its fonts, CMaps and colour profiles inside. Libraries that would start threads are told to start none.
"""

import codecs
import encodings
import importlib
import sys
import time
from typing import Final

import pi_heif
from PIL import AvifImagePlugin, Image

from pipeline.ingest.file_types import IMAGES
from pipeline.rasterize.containers import Container
from pipeline.rasterize.mail import text_pdf

# Of metadata, passwords and messages; each is a module, which Python loads when it is first named.
ENCODINGS: Final = (
    "ascii latin_1 cp437 cp1252 mac_roman raw_unicode_escape"
    " utf_8 utf_8_sig utf_16 utf_16_be utf_16_le utf_32"
    # Of e-mails.
    " utf_7 cp850 cp1250 cp1251 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258 iso8859_1 iso8859_2 iso8859_3"
    " iso8859_4 iso8859_5 iso8859_6 iso8859_7 iso8859_8 iso8859_9 iso8859_10 iso8859_13 iso8859_14 iso8859_15"
    " iso8859_16 koi8_r koi8_u cp874 tis_620 cp932 shift_jis euc_jp iso2022_jp cp949 euc_kr iso2022_kr gb2312"
    " gbk gb18030 hz big5 big5hkscs cp950 unicode_escape idna punycode"
)
# An e-mail that makes the library load all that another one could.
MESSAGE: Final = b"""From: =?utf-8?q?a?= <a@b.c>
To: b: c@d.e;
Date: Sun, 29 Nov 2026 20:00:00 +0000
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=x

--x
Content-Type: text/html; charset=x-unknown
Content-Transfer-Encoding: quoted-printable

<p>=C3=A9</p>
--x
Content-Type: application/pdf; name*0*=utf-8''a; name*1=b
Content-Transfer-Encoding: base64

JVBERg==
--x
Content-Type: application/zip
Content-Transfer-Encoding: x-uuencode

begin 644 a
#0V%T
`
end
--x
Content-Type: message/rfc822

Subject: =?iso-8859-1?b?6Q==?=

c
--x--
"""


def preload() -> None:
    """Does it, once and before the process is confined."""
    pi_heif.register_heif_opener(thumbnails=False)
    pi_heif.options.DECODE_THREADS = 1
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    Image.init()
    Image.new("LAB", (1, 1)).convert("RGB")  # brings a library of its own
    for name in ENCODINGS.split():
        codecs.lookup(name)
    importlib.import_module("numpy.ma")  # for `median`, `unique` and others of NumPy's
    time.tzset()
    text_pdf(MESSAGE, "x.eml")
    list(Container(MESSAGE, "x.eml").parts())
    codecs.unregister(encodings.search_function)  # it would look for a module of any name
    codecs.register(_loaded_codec)
    missing = {kind.pillow for kind in IMAGES.values()} - set(Image.OPEN)
    assert not missing, missing


def _loaded_codec(name: str) -> codecs.CodecInfo | None:
    """One that was loaded, by its name or another name of it."""
    known = encodings.normalize_encoding(name).lower()
    module = sys.modules.get(f"encodings.{encodings.aliases.aliases.get(known, known)}")
    return module.getregentry() if module is not None and hasattr(module, "getregentry") else None
