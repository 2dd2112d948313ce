"""A page as a test reads it: its tags with their attributes, and its text."""

from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass(frozen=True)
class Tag:
    name: str
    attributes: dict[str, str]


@dataclass
class Page:
    tags: list[Tag] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text with single spaces."""
        return " ".join(" ".join(self.texts).split())

    def all(self, name: str, /, **attributes: str) -> list[Tag]:
        """Return the tags of this name with these attributes."""
        wanted = {key.rstrip("_"): value for key, value in attributes.items()}
        return [tag for tag in self.tags if tag.name == name and wanted.items() <= tag.attributes.items()]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.page.tags.append(Tag(tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.page.texts.append(data)


def read(html: str) -> Page:
    """Parse a page."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.page
