"""Writes a report: figures, items and pictures become one HTML file that asks for nothing over any network.

All text is escaped by Jinja2, and the items travel as JSON that no parser of HTML can leave. Pictures lie in
the file, too; above MAX_INLINE bytes they lie in scripts beside it, so that file:// works.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup

from jobs.evaluation.files import Folder
from jobs.evaluation.report import curves
from jobs.evaluation.report.items import Item
from jobs.evaluation.statistics import Difference

MAX_INLINE: Final = 60 * 2**20  # bytes of pictures in the file itself
SIDECAR_BYTES: Final = 20 * 2**20  # in each of the scripts beside it
_HERE: Final = Path(__file__).parent


def write(
    output: str,
    name: str,
    *,
    title: str,
    summary: dict[str, Any] | None,
    items: Sequence[Item],
    pictures: Iterable[tuple[str, bytes | str]],
    about: Sequence[tuple[str, str]] = (),
    differences: Mapping[str, Difference] | None = None,
) -> str:
    """Writes OUT/`name`, and its sidecars if the pictures need them; returns its path.

    `differences` are those of a comparison, by their measures; the items that differ most come first.
    """
    folder = Folder(output)
    drawn: dict[str, bytes] = {}
    undrawn: list[tuple[str, str]] = []
    for key, found in pictures:
        if isinstance(found, bytes):
            drawn[key] = found
        else:
            undrawn.append((key, found))
    apart = sum(map(len, drawn.values())) > MAX_INLINE
    sidecars = []
    if apart:
        stem = name.removesuffix(".html")
        for number, some in enumerate(_packs(drawn), 1):
            sidecars.append(f"{stem}-pictures-{number}.js")
            folder.write(sidecars[-1], _sidecar(some))
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    calibrated = summary["calibration"] if summary else None
    lines = [curves.reliability(calibrated["reliability"])] if calibrated else []
    kept = curves.kept_error(items) if differences is None else None
    page = _template().render(
        title=title,
        summary=summary,
        about=about,
        differences=differences,
        curves=[*lines, *([kept] if kept else [])],
        failures=_failures(items),
        items=[one.packed() for one in items],
        inline={} if apart else {key: base64.b64encode(data).decode() for key, data in drawn.items()},
        undrawn=undrawn,
        sidecars=sidecars,
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    folder.write(name, page.encode())
    return f"{output.rstrip('/')}/{name}"


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    return environment.get_template("page.html.j2")


def _failures(items: Sequence[Item]) -> list[tuple[str, int, str]]:
    """Each reason with its count and an example."""
    counts: dict[str, tuple[int, str]] = {}
    for one in items:
        if one.reason:
            count, example = counts.get(one.reason, (0, one.message or ""))
            counts[one.reason] = count + 1, example
    return sorted(((reason, *rest) for reason, rest in counts.items()), key=lambda row: -row[1])


def _packs(drawn: dict[str, bytes]) -> Iterator[dict[str, bytes]]:
    some: dict[str, bytes] = {}
    size = 0
    for key, data in drawn.items():
        some[key] = data
        size += len(data)
        if size >= SIDECAR_BYTES:
            yield some
            some, size = {}, 0
    if some:
        yield some


def _sidecar(some: dict[str, bytes]) -> bytes:
    """A script that hands its pictures over; text in it cannot leave its string."""
    pictures = {key: base64.b64encode(data).decode() for key, data in some.items()}
    return f"Object.assign(window.QUIRE_PICTURES ||= {{}}, {json.dumps(pictures)});\n".encode()
