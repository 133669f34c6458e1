"""HTML for reports: one file that needs nothing else, on paper or in the dark."""

import base64
import html
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

STYLE = """
:root { color-scheme: light dark; --paper: #f4f5f7; --card: #ffffff; --ink: #1f2937;
  --quiet: #64748b; --line: #e2e5ea; --accent: #0072B2; }
@media (prefers-color-scheme: dark) { :root { --paper: #101215; --card: #191c20;
  --ink: #e5e7eb; --quiet: #94a3b8; --line: #2b3037; --accent: #56B4E9; }
  img.plot { filter: invert(0.9) hue-rotate(180deg); } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0; letter-spacing: -0.01em; }
h1 span { color: var(--quiet); font-weight: 400; }
h2 { font-size: 19px; margin: 0 0 4px; }
p { margin: 6px 0 0; max-width: 72ch; }
.quiet { color: var(--quiet); }
.strip { display: grid; gap: 12px; margin: 26px 0;
  grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); }
.tile, section { background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; }
.tile { padding: 12px 16px; }
.tile b { display: block; font-size: 22px; line-height: 1.3; font-weight: 600;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.tile span { font-size: 13px; color: var(--quiet); }
.grid { display: grid; gap: 20px; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); }
.stack { display: grid; gap: 20px; min-width: 0; }
section { padding: 18px 20px; min-width: 0; }
section > p { font-size: 14.5px; color: var(--quiet); margin: 2px 0 10px; }
img, video { display: block; width: 100%; height: auto; border-radius: 6px; }
.wide { margin-top: 20px; }
.centre img { max-width: 760px; margin: 0 auto; }
table { border-collapse: collapse; width: 100%; font-size: 14.5px; }
td, th { text-align: left; padding: 5px 14px 5px 0; vertical-align: top;
  border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums; }
th { font-weight: 600; color: var(--quiet); }
dl { columns: 2 360px; column-gap: 40px; margin: 8px 0 0; font-size: 14.5px; }
dl div { display: flex; gap: 12px; justify-content: space-between;
  border-bottom: 1px solid var(--line); padding: 4px 0; break-inside: avoid; }
dt { color: var(--quiet); }
dd { margin: 0; text-align: right; overflow-wrap: anywhere;
  font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
pre { background: var(--paper); border: 1px solid var(--line); border-radius: 6px;
  padding: 12px 14px; overflow-x: auto; margin: 10px 0 0; font-size: 14px; }
footer { margin-top: 28px; font-size: 13.5px; color: var(--quiet); }
"""


def escape(value: Any) -> str:
    """Text that is safe in HTML."""
    return html.escape(str(value))


def document(title: str, body: Iterable[str]) -> str:
    """A whole page."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        "<body>\n<main>\n" + "\n".join(body) + "\n</main>\n</body>\n</html>\n"
    )


def tiles(facts: Mapping[str, Any]) -> str:
    """A strip of numbers, each with what it is."""
    cells = (
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for name, value in facts.items()
    )
    return '<div class="strip">' + "".join(cells) + "</div>"


def columns(cards: Iterable[tuple[str, float]]) -> str:
    """Cards in two columns, each put where there is more room; one on a phone.

    Args:
        cards: HTML, and the height of its picture as a share of its width.
    """
    stacks: tuple[list[str], list[str]] = ([], [])
    heights = [0.0, 0.0]
    for card, height in cards:
        shorter = int(heights[1] < heights[0])
        stacks[shorter].append(card)
        heights[shorter] += height + 0.25  # a card's title and margins
    return (
        '<div class="grid">'
        + "".join(f'<div class="stack">{"".join(stack)}</div>' for stack in stacks)
        + "</div>"
    )


def section(title: str, note: str, content: str, *, kind: str = "") -> str:
    """A card; `content` is HTML, the rest is text; `kind` names its CSS classes."""
    return (
        f'<section class="{escape(kind)}"><h2>{escape(title)}</h2>'
        f"<p>{escape(note)}</p>{content}</section>"
    )


def picture(png: bytes, description: str) -> str:
    """A PNG within the page."""
    data = base64.b64encode(png).decode()
    return (
        f'<img class="plot" alt="{escape(description)}" '
        f'src="data:image/png;base64,{data}">'
    )


def film(mp4: bytes) -> str:
    """A video within the page."""
    data = base64.b64encode(mp4).decode()
    return (
        "<video controls loop autoplay muted playsinline "
        f'src="data:video/mp4;base64,{data}"></video>'
    )


def pairs(rows: Iterable[tuple[str, str]]) -> str:
    """Names and values, in as many columns as fit."""
    cells = (
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in rows
    )
    return f"<dl>{''.join(cells)}</dl>"


def table(rows: Iterable[Iterable[Any]], head: Iterable[str]) -> str:
    """Rows of text under a head."""
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = (
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{names}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def how(config: Mapping[str, Any], maker: str | None = None) -> list[str]:
    """Every setting of a run, and the command that made it.

    Args:
        config: As a run folder has it.
        maker: Who acted, as the command line names it: "planner" or "agent"; settings
            are then shown under the flags that set them.
    """
    command = config.get("command", "")
    if not isinstance(command, str):
        command = shlex.join(str(part) for part in command)
    hidden = ("command", "forethought")
    shown = {name: value for name, value in config.items() if name not in hidden}
    body = []
    if command:
        body.append(
            section(
                "Run it again",
                "The same seed gives the same run.",
                f"<pre>{escape(command)}</pre>",
                kind="wide",
            )
        )
    body.append(
        section("Settings", "", pairs(flags(shown, maker)), kind="wide"),
    )
    body.append(
        "<footer>Every number is in the files beside this one, figures in plots/. "
        "Made by forethought.</footer>"
    )
    return body


def flags(config: Mapping[str, Any], maker: str | None) -> list[tuple[str, str]]:
    """Settings as rows of flags and values; what no flag sets keeps its name."""
    rows = []
    for name, value in config.items():
        if name == "options":
            rows += [(flag(f"--{each}"), text) for each, text in leaves(value)]
        elif maker and name in ("planner", "settings"):
            rows += [(flag(each), text) for each, text in leaves(value, f"--{maker}")]
        else:
            rows += leaves(value, name)
    return list(dict(rows).items())  # the planner's name is an option of `plan`, too


def flag(name: str) -> str:
    """A setting as the command line spells it."""
    return name.replace("_", "-")


def leaves(tree: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as rows of dotted names and values."""
    if isinstance(tree, Mapping):
        return [
            row
            for name, value in tree.items()
            for row in leaves(value, f"{prefix}.{name}" if prefix else str(name))
        ]
    if isinstance(tree, list):
        return [(prefix, ", ".join(str(each) for each in tree))]
    return [(prefix, "–" if tree is None else str(tree))]
