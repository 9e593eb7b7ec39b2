"""Draws the sample documents and writes their questions and expected answers: python -m samples.draw

Ten documents of the kinds that Quire is for, in the formats that it reads: PDFs, a PNG, a JPEG scan, a
WebP, a TIFF of two pages. None of them is part of nano's training. Needs the [train] extra; the results
are committed, so nobody has to run this.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from samples.charts import across, bars, pie
from samples.papers import form, invoice, note, receipt, scan, table
from samples.report import report
from samples.sample import Sample

FOLDER = Path(__file__).parent


def samples() -> Iterator[Sample]:
    for draw in (invoice, scan, receipt, form, table, bars, across, pie, report, note):
        yield draw()


def main() -> None:
    documents = FOLDER / "documents"
    documents.mkdir(exist_ok=True)
    questions, expected = [], []
    for sample in samples():
        (documents / sample.name).write_bytes(sample.data)
        for number, (page, text, answers) in enumerate(sample.asked, start=1):
            key = f"{Path(sample.name).stem}-{number}"
            questions.append({"id": key, "text": text, "documents": sample.name, "pages": [page]})
            expected.append(
                {"document": f"documents/{sample.name}", "page": page, "question": text, "answers": answers}
            )
    for name, lines in (("questions.jsonl", questions), ("expected.jsonl", expected)):
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (FOLDER / name).write_text(text, encoding="utf-8")
    print(f"{len(expected)} questions about the documents in {documents}")


if __name__ == "__main__":
    main()
