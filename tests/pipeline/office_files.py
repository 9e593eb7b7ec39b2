"""Small office files that tests make: the parts that a reader needs, and no more."""

import io
import struct
import zipfile
from collections.abc import Mapping
from typing import Final

_OPEN_XML: Final = "application/vnd.openxmlformats-officedocument"
_RELATIONS: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_MAIN: Final = {
    "docx": ("word/document.xml", "wordprocessingml.document.main+xml"),
    "xlsx": ("xl/workbook.xml", "spreadsheetml.sheet.main+xml"),
    "pptx": ("ppt/presentation.xml", "presentationml.presentation.main+xml"),
}


def archive(members: Mapping[str, str | bytes]) -> bytes:
    """A ZIP archive, its members in this order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            kind = zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED
            file.writestr(zipfile.ZipInfo(name), content, kind)  # without the time of its making
    return buffer.getvalue()


def open_xml(kind: str, main: str, relations: str = "", **members: str | bytes) -> bytes:
    """An Office Open XML file of this main part, with relations of it."""
    part, content_type = _MAIN[kind]
    folder, _, name = part.rpartition("/")
    package = "http://schemas.openxmlformats.org/package/2006"
    types = (
        f'<Types xmlns="{package}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/{part}" ContentType="{_OPEN_XML}.{content_type}"/></Types>'
    )
    root = f'<Relationship Id="r0" Type="{_RELATIONS}/officeDocument" Target="{part}"/>'
    relations = f'<Relationships xmlns="{package}/relationships">{relations}</Relationships>'
    found = {
        "[Content_Types].xml": types,
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships">{root}</Relationships>',
        f"{folder}/_rels/{name}.rels": relations,
        part: main,
    }
    return archive(found | members)


def docx(*paragraphs: str, pages: int = 1) -> bytes:
    """A Word document with so many pages of the same paragraphs."""
    text = "".join(f"<w:p><w:r><w:t>{paragraph}</w:t></w:r></w:p>" for paragraph in paragraphs)
    new_page = '<w:p><w:r><w:br w:type="page"/></w:r></w:p>'
    namespace = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    body = new_page.join([text] * pages)
    return open_xml("docx", f'<w:document xmlns:w="{namespace}"><w:body>{body}</w:body></w:document>')


def odt(text: str, *, encrypted: bool = False) -> bytes:
    """An OpenDocument text."""
    namespaces = "urn:oasis:names:tc:opendocument:xmlns"
    kind = "application/vnd.oasis.opendocument.text"
    content = (
        f'<office:document-content xmlns:office="{namespaces}:office:1.0" office:version="1.2"'
        f' xmlns:text="{namespaces}:text:1.0"><office:body><office:text><text:p>{text}</text:p></office:text>'
        "</office:body></office:document-content>"
    )
    lock = "<manifest:encryption-data/>" if encrypted else ""
    entries = "".join(
        f'<manifest:file-entry manifest:full-path="{name}" manifest:media-type="{said}">{lock}'
        "</manifest:file-entry>"
        for name, said in (("/", kind), ("content.xml", "text/xml"))
    )
    manifest = f'<manifest:manifest xmlns:manifest="{namespaces}:manifest:1.0">{entries}</manifest:manifest>'
    return archive({"mimetype": kind, "content.xml": content, "META-INF/manifest.xml": manifest})


def container(*streams: str) -> bytes:
    """An OLE2 container of 512-byte sectors, whose root folder has these streams, all of them empty."""
    free, end, directory = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
    header = struct.pack(
        "<8s16xHHHHH6xIIII", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0x3E, 3, 0xFFFE, 9, 6, 0, 1, 1, 0
    )
    header += struct.pack("<IIIII", 4096, end, 0, end, 0) + struct.pack("<109I", 0, *[free] * 108)
    entries = []
    for number, name in enumerate(("Root Entry", *streams)):
        encoded = name.encode("utf-16-le")
        left, right = free, number + 1 if 0 < number < len(streams) else free
        child = 1 if number == 0 and streams else free
        kind = 5 if number == 0 else 2
        entry = struct.pack("<64sHBBIII", encoded, len(encoded) + 2, kind, 1, left, right, child)
        entries.append(entry.ljust(128, b"\0"))
    sectors = -(-len(entries) // 4)
    chain = [directory, *range(2, sectors + 1), end]
    table = struct.pack("<128I", *chain, *[free] * (128 - len(chain)))
    return header + table + b"".join(entries).ljust(512 * sectors, b"\0")
