"""Write the pages that are made from the code and the records, or check that they are fresh.

    python tools/docs.py            write them
    python tools/docs.py --check    name the stale ones; exit code 1 if there are any

Made are the blocks of results in the READMEs, docs/methods/ from the READMEs of the methods, and
docs/reference/ from their options.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from modelgraft.cli.flags import ActionFlags
from modelgraft.core.card import Card, find_cards
from modelgraft.core.options import Option, options
from modelgraft.core.settings import Settings
from modelgraft.evaluation.readme import check_readme, update_readme
from modelgraft.evaluation.tables import markdown_rows

ROOT = Path(__file__).parents[1]
METHODS = ROOT / "src" / "modelgraft" / "methods"
RECORDS = ROOT / "reproduction"
DOCS = ROOT / "docs"
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")
_HEADER = ("option", "value", "default", "what it does")


def readmes() -> list[Path]:
    """The READMEs that hold tables of results."""
    return [ROOT / "README.md", *sorted(METHODS.glob("*/README.md"))]


def pages() -> Iterator[tuple[Path, str]]:
    """The path and text of every page that is made as a whole."""
    for readme in sorted(METHODS.glob("*/README.md")):
        page = DOCS / "methods" / f"{readme.parent.name}.md"
        yield page, f"{_made_from(readme)}\n\n{_moved(readme, page)}"
    yield DOCS / "reference" / "flags.md", _flags_page()
    for card in find_cards().cards.values():
        if (METHODS / card.id).is_dir():
            yield DOCS / "reference" / f"{card.id}.md", _options_page(card)


def stale() -> list[Path]:
    """The files that are not what they would be if they were made now."""
    found = [readme for readme in readmes() if not check_readme(readme, RECORDS)]
    texts = dict(pages())
    found += [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
    made = [*(DOCS / "methods").glob("*.md"), *(DOCS / "reference").glob("*.md")]
    return found + [path for path in made if path not in texts]


def write() -> None:
    """Write every stale file; the READMEs first, since pages are made from them."""
    for readme in readmes():
        update_readme(readme, RECORDS)
    texts = dict(pages())
    for path in stale():
        if path in texts:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(texts[path])
        else:
            path.unlink()


def _made_from(source: Path) -> str:
    return f"<!-- made from {source.relative_to(ROOT)} by tools/docs.py -->"


def _moved(readme: Path, page: Path) -> str:
    """The text of a README with its relative links as they are seen from `page`."""

    def link(found: re.Match[str]) -> str:
        return os.path.relpath(readme.parent / found[1], page.parent)

    return _LINK.sub(link, readme.read_text(encoding="utf-8"))


def _flags_page() -> str:
    own = markdown_rows(_HEADER, map(_row, [*options(ActionFlags), *options(Settings)]))
    return f"{_made_from(Path(__file__))}\n\n# Flags of every action\n\n{own}\n"


def _options_page(card: Card) -> str:
    parts = [
        _made_from(METHODS / card.id / "card.py"),
        f"# Options of {card.title}",
        card.summary,
        f"Every action also takes the [flags of every action](flags.md). What the method is: "
        f"[{card.title}](../methods/{card.id}.md).",
    ]
    for action in card.actions:
        own = sorted(options(action.config), key=lambda one: (not one.positional, one.advanced))
        parts += [f"## {action.name}", action.help, markdown_rows(_HEADER, map(_row, own))]
    if card.presets:
        rows = [
            (name, action.name, ", ".join(f"{one} = {_text(values[one])}" for one in sorted(own)))
            for name in card.presets
            for action in card.actions
            for values in (card.preset(name, action.name),)
            if (own := values.keys() & {one.name for one in options(action.config)})
        ]
        parts += ["## Presets", markdown_rows(("--preset", "action", "values"), rows)]
    return "\n\n".join(parts) + "\n"


def _row(option: Option) -> tuple[str, str, str, str]:
    name = option.name.upper() if option.positional else option.flag
    value = option.kind.replace("|", " or ") + (", several" if option.multiple else "")
    bounds = [
        f"{word} {bound}"
        for word, bound in (("at least", option.min), ("at most", option.max))
        if bound is not None
    ]
    unit = [f"in {option.unit}"] if option.unit else []
    default = "needed" if option.required else _text(option.default)
    more = " For special cases." if option.advanced else ""
    return f"`{name}`", ", ".join([value, *unit, *bounds]), default, option.help + more


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(_text, value)) or "none"
    return "none" if value in (None, "") else str(value)


def main(words: Sequence[str]) -> int:
    """Write, or with --check only look."""
    if list(words) == ["--check"]:
        found = stale()
        for path in found:
            print(f"{path.relative_to(ROOT)} is stale; run python tools/docs.py")
        return 1 if found else 0
    if words:
        print(__doc__, file=sys.stderr)
        return 2
    write()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
