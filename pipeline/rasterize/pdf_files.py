"""An open PDF in; the files that are attached to it, out.

Those of its name tree come first, in the tree's order, as in a portfolio; then those that are pinned to
pages. A file that only names another place has no bytes here, and is none. Nothing is unpacked beyond what is
asked for: a few kilobytes may hold gigabytes. These are hostile bytes: a run gets here in the sandbox alone.
"""

from collections.abc import Iterator
from functools import partial
from typing import Final

import pymupdf
from pymupdf import mupdf

from pipeline.ingest.file_types import DocumentError
from pipeline.rasterize.damage import losses, printable, words
from pipeline.rasterize.files import File
from pipeline.rasterize.pdf_page import DAMAGED, cause, reason

MOST_PAGES: Final = 5_000  # that are looked at for files
READ_BYTES: Final = 2**16  # at first: of most streams nobody knows how many there are


def files_of(pdf: pymupdf.Document) -> Iterator[File]:
    """The attached files. Raises MuPDF's errors."""
    document = mupdf.pdf_document_from_fz_document(pdf.this)
    seen = set[int]()
    for spec in _specs(document):
        stream = _stream(spec)
        number = mupdf.pdf_to_num(stream) if stream is not None else 0
        if stream is None or number in seen:
            continue
        seen.add(number)
        name = printable(_name(spec))
        yield File(name=name, is_mail=name.lower().endswith(".eml"), read=partial(_read, stream, name))


def _specs(document: mupdf.PdfDocument) -> Iterator[mupdf.PdfObj]:
    tree = mupdf.pdf_load_name_tree(document, pymupdf.PDF_NAME("EmbeddedFiles"))
    for index in range(mupdf.pdf_dict_len(tree)):
        yield mupdf.pdf_dict_get_val(tree, index)
    for number in range(min(mupdf.pdf_count_pages(document), MOST_PAGES)):
        page = mupdf.pdf_lookup_page_obj(document, number)
        notes = mupdf.pdf_dict_get(page, pymupdf.PDF_NAME("Annots"))
        for index in range(mupdf.pdf_array_len(notes)):
            note = mupdf.pdf_array_get(notes, index)
            if mupdf.pdf_to_name(mupdf.pdf_dict_get(note, pymupdf.PDF_NAME("Subtype"))) == "FileAttachment":
                yield mupdf.pdf_dict_get(note, pymupdf.PDF_NAME("FS"))


def _stream(spec: mupdf.PdfObj) -> mupdf.PdfObj | None:
    """The object that holds the bytes of a file, which has a number of its own."""
    files = mupdf.pdf_dict_get(spec, pymupdf.PDF_NAME("EF"))
    for name in ("UF", "F", "Unix", "DOS", "Mac"):
        stream = mupdf.pdf_dict_gets(files, name)
        if mupdf.pdf_is_stream(stream):
            return stream
    return None


def _name(spec: mupdf.PdfObj) -> str:
    names = (mupdf.pdf_to_text_string(mupdf.pdf_dict_gets(spec, key)) for key in ("UF", "F"))
    return next(filter(None, names), "a file")


def _read(stream: mupdf.PdfObj, name: str, most: int) -> bytes:
    """At most so many bytes of a file. Raises DocumentError: damaged, memory."""
    pymupdf.TOOLS.reset_mupdf_warnings()
    try:
        bounded = mupdf.fz_open_null_filter(mupdf.pdf_open_stream(stream), most, 0)
        buffer, _ = mupdf.fz_read_best(bounded, min(READ_BYTES, most), most)
        data: bytes = mupdf.fz_buffer_extract_copy(buffer)
        said = mupdf.pdf_to_int(mupdf.pdf_dict_getp(stream, "Params/Size"))
    except DAMAGED as error:
        raise DocumentError(
            reason(error, "damaged"), f"the attached {name} cannot be read: {cause(error)}"
        ) from error
    # MuPDF hands over what it could unpack, and warns.
    lost = losses(pymupdf.TOOLS.mupdf_warnings())
    if lost and len(data) != said:
        raise DocumentError("damaged", f"the attached {name} cannot be read as a whole: {words(lost)}")
    return data
