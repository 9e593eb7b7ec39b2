"""The pages of a PDF whose page tree does not say how many they are: they are counted, as PDFium does.

In: an open PDF that says it has no pages. Out: their number, which the tree then says at every node: MuPDF
finds a page by these counts. A node that is its own descendant ends the count there.
"""

from typing import Final

import pymupdf
from pymupdf import mupdf

MAX_DEPTH: Final = 200  # as PDFium and MuPDF have it; trees of real documents have three levels


def count_kids(pdf: pymupdf.Document) -> int:
    """The pages that the tree holds. Raises MuPDF's errors."""
    document = mupdf.pdf_document_from_fz_document(pdf.this)
    root = mupdf.pdf_trailer(document).pdf_dict_getp("Root/Pages")
    return _count(root, frozenset())


def _count(node: mupdf.PdfObj, parents: frozenset[int]) -> int:
    number = mupdf.pdf_to_num(node)
    if number in parents or len(parents) >= MAX_DEPTH:
        return 0
    kids = mupdf.pdf_dict_get(node, pymupdf.PDF_NAME("Kids"))
    total = 0
    for index in range(mupdf.pdf_array_len(kids)):
        kid = mupdf.pdf_array_get(kids, index)
        if mupdf.pdf_is_array(mupdf.pdf_dict_get(kid, pymupdf.PDF_NAME("Kids"))):
            total += _count(kid, parents | {number})
        elif mupdf.pdf_is_dict(kid):
            total += 1
    if total:
        mupdf.pdf_dict_put_int(node, pymupdf.PDF_NAME("Count"), total)
    return total
