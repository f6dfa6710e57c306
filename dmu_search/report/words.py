"""Numbers in words, and text of others: it shows, and never acts."""

import re

# Escape sequences move the cursor, rewrite the screen and set a terminal's title.
_PICTURES = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"}
_VISIBLE = _PICTURES | {0x7F: 0x2421} | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)


def visible(text: str) -> str:
    """``text`` with its control characters as symbols; line ends and tabs stay."""
    return text.translate(_VISIBLE)


def in_markdown(text: str) -> str:
    """A text that may be anything, in one line in which Markdown reads no markup."""
    return re.sub(r"([\\`*_\[\]<>|&~!])", r"\\\1", " ".join(visible(text).split()))


def number(value: object) -> str:
    """A setting as a reader wants it: three significant digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def score(value: float | None) -> str:
    """A loss or accuracy: four decimals, or three digits where they would say nothing."""
    if value is None:
        return ""
    return f"{value:.4f}" if abs(value) >= 0.01 or value == 0 else f"{value:.2e}"


def duration(seconds: float) -> str:
    """Seconds as ``40 s``, ``12 min`` or ``3 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
