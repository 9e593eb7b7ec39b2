"""Regular expressions for the values that JSON writes as digits: numbers between bounds, days, moments.

They match only values that can be read back: no 2026-02-30, no leading zeros, no -0, no number outside its
bounds, of any length. They are in the dialect of Rust's regex, and each has to match the whole text.
"""

# Years 0001 to 9999, as Python and Arrow count them.
_YEAR = "(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_LEAP_YEAR = (  # 2024 and 2000, not 1900
    "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
)
_DAY_IN_YEAR = (
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_HOUR_MINUTE = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"

DATE = f"(?:{_YEAR}-{_DAY_IN_YEAR}|{_LEAP_YEAR}-02-29)"
DATE_TIME = rf"{DATE}T{_HOUR_MINUTE}:[0-5][0-9](?:\.[0-9]{{1,6}})?(?:Z|[+-]{_HOUR_MINUTE})"
EDGE_DAYS = "(?:0001-01-01|9999-12-31)"  # some of their moments are in the year 0 or 10000 of UTC


def number(low: int, high: int, places: int) -> str:
    """The numbers from low to high, both counted in units of the last of `places` decimals.

    A fraction may be shorter than `places`, or absent. Example: number(5, 120, 1) is 0.5 to 12, such as 1,
    7.0 and 11.9.
    """
    assert low <= high, f"no number from {low} to {high}"
    parts = []
    if low < 0:
        parts.append("-" + _positive(max(1, -high), -low, places))
    if high >= 0:
        parts.append(_positive(max(0, low), high, places))
    return _either(parts)


def _positive(low: int, high: int, places: int) -> str:
    unit = 10**places
    (low_whole, low_rest), (high_whole, high_rest) = divmod(low, unit), divmod(high, unit)
    if low_whole == high_whole:
        return f"{low_whole}{_fraction(low_rest, high_rest, places)}"
    parts = []
    if low_rest > 0:
        parts.append(f"{low_whole}{_fraction(low_rest, unit - 1, places)}")
        low_whole += 1
    if high_rest < unit - 1:
        parts.append(f"{high_whole}{_fraction(0, high_rest, places)}")
        high_whole -= 1
    if low_whole <= high_whole:
        parts.append(_whole(low_whole, high_whole) + _fraction(0, unit - 1, places))
    return _either(parts)


def _whole(low: int, high: int) -> str:
    parts = []
    while low <= high:
        last = min(high, 10 ** len(str(low)) - 1)  # of as many digits
        parts.append(_digits(str(low), str(last), may_end=False))
        low = last + 1
    return _either(parts)


def _fraction(low: int, high: int, places: int) -> str:
    if not places:
        return ""
    digits = rf"\.{_digits(f'{low:0{places}}', f'{high:0{places}}', may_end=True)}"
    return digits if low else f"(?:{digits})?"


def _digits(low: str, high: str, *, may_end: bool) -> str:
    """The strings of digits from low to high, which are equally long.

    With `may_end` they may be shorter, where zeros would follow: "05" to "20" then holds "1" and "2".
    """
    length = len(low)
    zeros, nines = "0" * length, "9" * length
    if (low, high) == (zeros, nines):
        return f"[0-9]{{1,{length}}}" if may_end else f"[0-9]{{{length}}}"

    def then(first: str, low: str, high: str) -> str:
        if not low:
            return first
        rest = _digits(low, high, may_end=may_end)
        return first + (f"(?:{rest})?" if may_end and low == zeros[1:] else rest)

    if low[0] == high[0]:
        return then(low[0], low[1:], high[1:])
    parts, first, last = [], int(low[0]), int(high[0])
    if low[1:] != zeros[1:]:
        parts.append(then(low[0], low[1:], nines[1:]))
        first += 1
    if high[1:] != nines[1:]:
        parts.append(then(high[0], zeros[1:], high[1:]))
        last -= 1
    if first <= last:
        parts.append(then(f"[{first}-{last}]", zeros[1:], nines[1:]))
    return _either(parts)


def _either(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"
