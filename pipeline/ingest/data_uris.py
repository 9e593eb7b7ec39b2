"""data: addresses, which hold a document themselves: data:application/pdf;base64,JVBERi0x... (RFC 2397).

In: the address. Out: the bytes. The type that it names is not believed: a document's first bytes decide it.
"""

import base64
import binascii
from urllib.parse import unquote_to_bytes


def is_data_uri(uri: str) -> bool:
    """Whether the document lies in the address itself."""
    return uri[:5].lower() == "data:"


def decode(uri: str) -> bytes:
    """The document in a data: address. Raises ValueError."""
    head, comma, body = uri.partition(",")
    if not comma:
        raise ValueError("its data: address has no comma before the data")
    data = unquote_to_bytes(body)
    if head.rpartition(";")[2].strip().lower() != "base64":
        return data
    # Without white space, in either alphabet, padded or not: all of these are about.
    data = data.translate(bytes.maketrans(b"-_", b"+/"), b" \t\r\n\f\v").rstrip(b"=")
    try:
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(f"its data: address is no base64: {error}") from error
