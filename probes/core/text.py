"""What strangers wrote, made fit to be looked at."""


def shown(text: str) -> str:
    """Return `text` with what cannot be seen escaped: control characters, line ends, half characters, turns of direction."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
