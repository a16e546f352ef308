r"""Units of measure after a number: which one an answer has, and how two convert, as in `5 cm` and `50 mm`.

A unit that is not in the table, such as `apples`, is none: it is dropped, as the question fixes it.
"""

import re
from collections import Counter
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple


class Unit(NamedTuple):
    """A unit: its size in units of its dimension, and the dimension, such as `m^2`."""

    size: Fraction
    dimension: str


_SIZES: tuple[tuple[str, str, str], ...] = (
    ("m", "1/1000", "mm millimeter millimetre"),
    ("m", "1/100", "cm centimeter centimetre"),
    ("m", "1", "m meter metre"),
    ("m", "1000", "km kilometer kilometre"),
    ("m", "1/1000000000", "nm nanometer nanometre"),
    ("m", "254/10000", "in inch inches"),
    ("m", "3048/10000", "ft foot feet"),
    ("m", "9144/10000", "yd yard"),
    ("m", "1609344/1000", "mi mile"),
    ("kg", "1/1000000", "mg milligram"),
    ("kg", "1/1000", "g gram"),
    ("kg", "1", "kg kilogram kilo"),
    ("kg", "1000", "tonne"),
    ("lb", "1", "lb lbs pound"),
    ("lb", "1/16", "oz ounce"),
    ("s", "1/1000", "ms millisecond"),
    ("s", "1", "s sec second"),
    ("s", "60", "min minute"),
    ("s", "3600", "h hr hour"),
    ("s", "86400", "day"),
    ("s", "604800", "week"),
    ("month", "1", "month"),
    ("month", "12", "year yr"),
    ("m^3", "1/1000000", "ml milliliter millilitre cc"),
    ("m^3", "1/1000", "l liter litre"),
    ("gal", "1", "gal gallon"),
    ("gal", "1/4", "quart"),
    ("gal", "1/8", "pint"),
    ("gal", "1/16", "cup"),
    ("gal", "1/256", "tbsp tablespoon"),
    ("gal", "1/768", "tsp teaspoon"),
    ("degree", "1", "degree deg \u00b0"),
    ("radian", "1", "rad radian"),
    ("degree C", "1", "\u00b0c celsius"),
    ("degree F", "1", "\u00b0f fahrenheit"),
    ("K", "1", "k kelvin"),
    ("%", "1", "% percent"),
    ("USD", "1", "$ usd us$ dollar"),
    ("USD", "1/100", "cent \u00a2"),
    ("EUR", "1", "\u20ac eur euro"),
    ("GBP", "1", "\u00a3 gbp"),
    ("INR", "1", "\u20b9 inr rs rs. rupee"),
    ("JPY", "1", "\u00a5 jpy yen"),
    ("N", "1", "n newton"),
    ("J", "1", "j joule"),
    ("J", "1000", "kj kilojoule"),
    ("W", "1", "w watt"),
    ("W", "1000", "kw kilowatt"),
    ("V", "1", "v volt"),
    ("A", "1", "a ampere amp"),
    ("mol", "1", "mol mole"),
    ("ohm", "1", "\\omega ohm"),
    ("ohm", "1000", "k\\omega"),
)
_UNITS = {name: Unit(Fraction(size), dimension) for dimension, size, names in _SIZES for name in names.split()}
_SPELLING = {name: names.split()[0] for _, _, names in _SIZES for name in names.split()}
_COMPOUND = {"mph": "mi/h", "kph": "km/h", "kmh": "km/h"}
_SYMBOLS = frozenset("mgslhnjwvak")
"""Units of one letter, which are variables unless they are in upright type or beside another unit."""

_COMMAND = r"\\(?:text(?:rm|bf|it)?|mbox|mathrm|mathbf|rm|operatorname)\s*"
_UPRIGHT = re.compile(rf"{_COMMAND}\{{([^{{}}]*+)\}}")
_SPACING = re.compile(r"\\[,;:!\s]|~|\\q?quad(?![a-z])")
_FRONT = re.compile(
    r"\A\s*-?\s*(\\?\$|US\\?\$|[\u20ac\u00a3\u20b9\u00a5]|(?:USD|EUR|GBP|INR|JPY|Rs\.?)(?=\s*-?[\d.]))\s*(?=[-\d.\\(])"
)
_DEGREE = re.compile(r"\^\s*\{?\s*\\(?:circ|degree)\s*\}?|\\degree(?![a-z])")
_NAME = r"(?:k?\\Omega|\u00b0\s*[CF](?![a-zA-Z])|[%\u00b0\u20ac\u00a3\u20b9\u00a5\u00a2$]|[a-zA-Z]++)"
_EXPONENT = r"(?:\s*\^\s*[{(]?(-?\d)[)}]?|([\u00b2\u00b3]))?"
_PREFIX = r"(?:(square|cubic|sq|cu)\b\.?\s*)?"
_PART = re.compile(rf"\s*(/|\u00b7|\\cdot(?![a-z])|per\b)?\s*{_PREFIX}({_NAME}){_EXPONENT}")
_BACK = re.compile(rf"(?<=[\d)}}\]\s.])(?:{_PART.pattern})++\s*\Z")
_FUNCTION = re.compile(r"sin|cos|tan|cot|sec|csc")
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{2,}")
MAX_UNIT = 60
"""Maximum characters of a unit."""


@lru_cache(maxsize=4096)
def unit_of(text: str) -> str:
    """The unit of an answer as written, in the table's spelling, such as `cm^2`; "" if it has none."""
    if front := _FRONT.match(text):
        return _spelled(front[1].replace("\\", ""), upright=True)
    flat = _SPACING.sub(" ", _DEGREE.sub("\u00b0", text)).replace("\\%", "%").replace("\\$", "$")
    upright = "\\" in flat and _UPRIGHT.search(flat) is not None
    flat = (_UPRIGHT.sub(r" \1", flat) if upright else flat).strip(" .")
    back = _BACK.search(flat, max(0, len(flat) - MAX_UNIT))
    if back is None or not back.start() or _WORD.search(flat, 0, back.start()) or _FUNCTION.search(flat):
        return ""
    return _spelled(flat[back.start() :], upright=upright)


def _spelled(written: str, *, upright: bool) -> str:
    """The unit in the table's spelling; "" if a part of it is not in the table."""
    written = _COMPOUND.get(written.strip().lower(), written)
    parts: list[tuple[str, int]] = []
    for match in _PART.finditer(written):
        sign, prefix, name, power, raised = match.groups()
        name = name.lower().replace(" ", "")
        name = next((known for known in (name, name.removesuffix("s"), name.removesuffix("es")) if known in _UNITS), "")
        if not name:
            return ""
        exponent = int(power or {"\u00b2": 2, "\u00b3": 3}.get(raised) or _POWERS.get(prefix, 1))
        parts.append((_SPELLING[name], -exponent if sign in ("/", "per") else exponent))
    if not parts or (not upright and written.strip(" .").lower() in _SYMBOLS):
        return ""
    return "*".join(f"{name}^{power}" if power != 1 else name for name, power in parts)


@lru_cache(maxsize=1024)
def measure(unit: str) -> Unit:
    """The size and dimension of a unit in the table's spelling."""
    size, exponents = Fraction(1), Counter[str]()
    for part in unit.split("*"):
        name, _, power = part.partition("^")
        known, exponent = _UNITS[name], int(power or 1)
        size *= known.size**exponent
        base, _, inner = known.dimension.partition("^")
        exponents[base] += exponent * int(inner or 1)
    return Unit(size, "*".join(f"{base}^{power}" for base, power in sorted(exponents.items()) if power))
