r"""Units, currencies and scale words around a number; units are dropped, as the question fixes them.

Only what follows a number or a bracket is a unit. `3 million` and `5 squared` are other numbers than 3 and 5.
"""

import re

_SPACE = r"(?:\s|~|\\[,;:!\s])"
_CURRENCIES = "USD|EUR|GBP|INR|CNY|RMB|JPY|CAD|AUD|CHF|KRW|BRL|MXN"
_KNOWN = (
    "degrees?|percent|dollars?|cents?|cm|mm|km|nm|kg|mg|ml|mL|ft|in|lbs?|oz|mi|hrs?|hours?|min|secs?|days?|mph|kph|"
    "units?|inch|feet|foot|yards?|miles?|met(?:er|re)s?|deg|rad|sq|cups?|tsp|tbsp|gal|yen|won|euros?|pence|"
    rf"(?:km?|m|cm|mg?|kg?|g|N|J|L|W|V|mol)/(?:h|s|min|m|cm|L|kg|g|mol|K)|{_CURRENCIES}"
)
_LETTERS = "[mgshlLJNWVAKCF]"
"""Units of one letter, read as such only in text or upright type: 5m is five times m."""
_MORE = (
    "hundred|thousand|million|billion|trillion|dozen|plus|minus|over|divided|choose|factorial|squared|cubed|"
    "modulo|point|half|halves|thirds?|fourths?|quarters?|fifths?|sixths?|sevenths?|eighths?|ninths?|tenths?|"
    "hundredths?|thousandths?|negative|(?:more|less|fewer|greater)\\s+than"
)
"""Words that change the number before them."""
_OPERAND = r"(?=\s*(?:[-\d(\\]|[b-zA-Z](?![a-zA-Z])))"
_COMMAND = r"\\(?:text(?:rm|bf|it)?|mbox|mathrm|mathbf|rm|operatorname)\s*"
_EXPONENT = r"(?:\^\{?-?\d\}?)?"
_BOXED = (
    rf"{_COMMAND}\{{(?!\s*(?:[apAP]\.?[mM]\b|(?:{_MORE}|to|or|and)\b))(?:[^{{}}]{{2,}}+|\s*{_LETTERS}\s*)\}}{_EXPONENT}"
)
TEXT_UNIT = re.compile(rf"(?<=[\w}}) \]]){_SPACE}*+{_BOXED}(?:(?:/|\\cdot(?![a-z])|{_SPACE})*+{_BOXED})*+\s*\Z")
"""A unit in text or upright type at the end."""
_MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december"

UNITS: tuple[tuple[str, str], ...] = (
    # Currencies before the amount.
    (
        rf"\A\s*(-?)\s*(?:(?:{_CURRENCIES})(?![a-zA-Z])|Rs\.?(?![a-zA-Z])|US(?=\s*\\?\$)|\\(?:pounds|euro|textdollar)(?![a-z]))\s*(?=[\d$\\.-])",
        r"\1",
    ),
    (r"\\?[%$]|[\u20ac\u00a3\u20b9\u00a5\u00a2]", " "),
    # What is computed before the unit is dropped.
    (r"(?<=\d)\s*+hundred(?![a-zA-Z])", r"\\cdot10^{2}"),
    (r"(?<=\d)\s*+thousand(?![a-zA-Z])", r"\\cdot10^{3}"),
    (r"(?<=\d)\s*+million(?![a-zA-Z])", r"\\cdot10^{6}"),
    (r"(?<=\d)\s*+billion(?![a-zA-Z])", r"\\cdot10^{9}"),
    (r"(?<=\d)\s*+trillion(?![a-zA-Z])", r"\\cdot10^{12}"),
    (r"(?<=\d)\s*+dozen(?![a-zA-Z])", r"\\cdot12"),
    (r"(?<=\d)\s++squared(?![a-zA-Z])", "^2"),
    (r"(?<=\d)\s++cubed(?![a-zA-Z])", "^3"),
    (r"(?<=\d)\s++factorial(?![a-zA-Z])", "!"),
    (rf"(?<=\d)\s++plus{_OPERAND}", "+"),
    (rf"(?<=\d)\s++minus{_OPERAND}", "-"),
    (rf"(?<=\d)\s++times{_OPERAND}", r"\\cdot "),
    (rf"(?<=\d)\s++(?:divided\s++by|over){_OPERAND}", "/"),
    (r"(?<=[\d}])\s*+(?:\u00b0\s*+|\^\{?\\circ\}?\s*+)[CF](?![a-zA-Z])", ""),
    (rf"(?<=\d){_SPACE}++(?:k|M|\\mu(?![a-z]))?\s*+\\Omega\s*\Z", ""),
)
"""Patterns and replacements, in order, before spaces are removed."""
LAST_UNIT: tuple[str, str] = (
    (
        rf"(?<=[\d)}}])\s*+(?:(?:{_KNOWN})(?![a-zA-Z])|(?<=\s)(?!(?:{_MORE}|{_MONTHS})(?![a-zA-Z]))[a-zA-Z]{{4,}}+)"
        r"(?:[^,=<>+\d^]|\^(?:\d|\{-?\d\}))*+\Z"
    ),
    "",
)
"""A unit after a number: a known one, or a word of four letters or more; `5 feet 3 inches` is not 5."""
