"""PDFs with files in them that tests make."""

import pymupdf

from tests.pipeline.drawn import pdf_bytes


def portfolio(**attached: bytes) -> bytes:
    """A portfolio with files of these names: the last _ in a name stands for its dot."""
    with pymupdf.open(stream=pdf_bytes(), filetype="pdf") as pdf:
        for name, data in attached.items():
            filename = ".".join(name.rsplit("_", 1))
            pdf.embfile_add(filename, data, filename=filename)
        pdf.xref_set_key(pdf.pdf_catalog(), "Collection", "<</Type/Collection/View/D>>")
        written: bytes = pdf.tobytes(deflate=True)
    return written


def locked(data: bytes, password: str) -> bytes:
    """A PDF under a password."""
    with pymupdf.open(stream=data, filetype="pdf") as pdf:
        aes_256 = pymupdf.mupdf.PDF_ENCRYPT_AES_256
        written: bytes = pdf.tobytes(encryption=aes_256, user_pw=password)
    return written
