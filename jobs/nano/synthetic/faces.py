"""The type faces of synthetic documents: those every viewer has, those of packages, and a folder of others.

The folder holds TrueType files by class: sans/NAME.ttf and, if there is one, sans/NAME-bold.ttf. What lies in
its folder held-out is never trained on: the evaluation draws with it.
"""

from __future__ import annotations

import functools
import random
from pathlib import Path

from jobs.nano.synthetic.sheet import embed

Family = tuple[str, str]
"""Names of the regular and the bold font, for reportlab."""

CLASSES = ("sans", "serif", "mono", "typewriter", "pixel", "display")
HELD_OUT = "held-out"

# MuPDF draws the fonts every viewer has with its own Nimbus faces.
_BASE: dict[str, list[Family]] = {
    "sans": [("Helvetica", "Helvetica-Bold"), ("Helvetica-Oblique", "Helvetica-BoldOblique")],
    "serif": [("Times-Roman", "Times-Bold"), ("Times-Italic", "Times-BoldItalic")],
    "typewriter": [("Courier", "Courier-Bold")],
}
# File names of reportlab's Vera and short names of pymupdf-fonts.
_PACKAGED: dict[str, list[Family]] = {
    "sans": [("Vera.ttf", "VeraBd.ttf"), ("ubuntu", "ubuntubo")],
    "mono": [("ubuntm", "ubuntmbo"), ("spacemo", "spacembo")],
}


@functools.cache
def _families(folder: Path | None, held_out: bool) -> dict[str, list[Family]]:
    """Families by class. Raises ValueError if the folder holds no fonts."""
    files = {} if folder is None else _listed(folder, held_out)
    if folder is not None and not any(files.values()):
        where = folder / HELD_OUT if held_out else folder
        raise ValueError(
            f"{where} holds no fonts: it should have folders {', '.join(CLASSES)} with .ttf files"
        )
    if held_out and folder is not None:
        return {name: found for name, found in files.items() if found}
    packaged = {name: [(embed(a), embed(b)) for a, b in pairs] for name, pairs in _PACKAGED.items()}
    merged = {name: [*_BASE.get(name, []), *packaged.get(name, []), *files.get(name, [])] for name in CLASSES}
    return {name: found for name, found in merged.items() if found}


def _listed(folder: Path, held_out: bool) -> dict[str, list[Family]]:
    root = folder / HELD_OUT if held_out else folder
    found: dict[str, list[Family]] = {}
    for name in CLASSES:
        files = {path.stem: embed(str(path)) for path in sorted((root / name).glob("*.ttf"))}
        found[name] = [
            (font, files.get(f"{stem}-bold", font))
            for stem, font in files.items()
            if not stem.endswith("-bold")
        ]
    return found


def check(folder: Path) -> None:
    """ValueError if the folder lacks fonts for training or for the evaluation."""
    for held_out in (False, True):
        _families(folder, held_out)


def family(folder: Path | None, *, held_out: bool, weights: dict[str, float]) -> Family:
    """A random family; `weights` are those of the classes. One without a font leaves its share to others."""
    families = _families(folder, held_out)
    names = [name for name in families if weights.get(name, 0)] or list(families)
    (name,) = random.choices(names, [weights.get(name, 1) for name in names])
    if name in _BASE and not held_out and random.random() < 0.3:  # the most usual faces stay usual
        return random.choice(_BASE[name])
    return random.choice(families[name])
