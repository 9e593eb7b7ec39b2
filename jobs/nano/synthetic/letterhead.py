"""Who issues an invoice: at its head, beside the word invoice, or only in the small type at its foot."""

from __future__ import annotations

import random
from collections.abc import Callable

from jobs.nano.synthetic import abroad, words
from jobs.nano.synthetic.layout import Page, chance, text_value


def head(page: Page, margin: float, y: float, vendor: str, language: str) -> float:
    """The vendor and the word invoice, either of them first or stacked; returns the y below.

    Without a vendor, which `foot` then names, it has a slogan.
    """
    style = page.style
    name = vendor or style.cased(words.phrase(2, 4))
    large = style.size * random.uniform(1.1, 2.3)
    word = random.choice(
        ["INVOICE", "Invoice", "TAX INVOICE", "Invoice / Receipt", "Rechnung / Invoice", "BILL", ""]
    )
    word = abroad.label(language, abroad.TITLES, word)
    both = page.measure(f"{name}   {word}", bold=True, size=large)
    right = page.width - margin
    color = style.accent if chance(0.4) else style.ink
    if both > right - margin or chance(0.3):
        at = page.put(margin, y, name, bold=True, size=min(large, style.size * 1.3), color=color)
        y += large * 1.3
        if word:
            page.put(margin, y, word, bold=True, size=large)
            y += large * 1.3
    elif chance(0.7):
        at = page.put(margin, y, name, bold=True, size=large, color=color)
        page.put(right, y, word, bold=True, size=large, align="right")
        y += large * 1.4
    else:
        page.put(margin, y, word, bold=True, size=large)
        at = page.put(right, y, name, bold=True, size=large, align="right", color=color)
        y += large * 1.4
    if vendor:
        page.fact("", text_value(vendor), at, "vendor")
    page.say(f"# {name}")
    if not vendor:
        return y + style.pitch * random.uniform(0.3, 1.3)
    lines = [style.cased(line) for line in words.address()]
    small: float = style.size * random.choice([1.0, 0.8])
    if chance(0.75):
        first = page.put(margin, y, lines[0], size=small)
        for line in lines[1:]:
            y += small * style.loose
            page.put(margin, y, line, size=small)
        y += small * style.loose
        if chance(0.6):
            page.fact("", text_value(" ".join(lines)), first, "address")
        page.say("  \n".join(lines))
    for role, names, make in _CONTACTS:
        if chance(0.25):
            label, value = style.label(random.choice(names)), make()
            at = page.put(margin, y, f"{label}: {value}", size=small)
            page.fact(label, text_value(value), at + len("".join(label.split())) + 1, role)
            page.say(f"{label}: {value}")
            y += small * style.loose
    return y + style.pitch * random.uniform(0.3, 1.3)


_CONTACTS: tuple[tuple[str, list[str], Callable[[], str]], ...] = (
    ("phone", ["Tel", "Phone", "Telephone"], words.phone),
    ("fax", ["Fax"], words.phone),
    ("email", ["Email", "E-mail"], words.email),
    ("website", ["Web", "Internet"], words.website),
    ("taxid", ["VAT No", "VAT ID", "Tax No", "GST Reg No", "USt-IdNr."], words.code),
)


def foot(page: Page, margin: float, y: float, vendor: str) -> float:
    """The vendor, its address and how to reach it, in the middle; returns the y below."""
    style, small = page.style, 0.85 * page.style.size
    lines = [vendor, ", ".join(words.address()), f"Tel {words.phone()}   {words.email()}   {words.code()}"]
    for index, line in enumerate(lines):
        for part in page.wrap(line, page.width - 2 * margin, size=small, bold=not index):
            at = page.put(page.width / 2, y, part, size=small, bold=not index, align="center")
            if not index and part == vendor:
                page.fact("", text_value(vendor), at, "vendor")
            y += small * style.loose
    return y
