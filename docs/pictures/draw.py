"""Draws the diagrams of the explanation, each in a light and a dark version: ``make pictures``.

Plain SVG, from a few shapes: no program has to be installed for it, and the files differ only where a diagram does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Palette:
    """The colours of one version, each readable on its page's background (WCAG AA: 4.5 to 1 for text)."""

    ink: str
    quiet: str
    line: str
    boxes: dict[str, str]


PALETTES = {
    "light": Palette(
        "#1a1a1a", "#5a5a5a", "#6b6b6b", {"good": "#d8f0dd", "due": "#fdeec4", "bad": "#f8d7d4", "plain": "#eceff4"}
    ),
    "dark": Palette(
        "#ececec", "#b0b0b0", "#a0a0a0", {"good": "#1f4a2c", "due": "#5a4613", "bad": "#5e2723", "plain": "#2f3540"}
    ),
}


@dataclass
class Drawing:
    """Shapes in one palette."""

    width: int
    height: int
    title: str
    palette: Palette
    shapes: list[str] = field(default_factory=list)

    def text(
        self, x: float, y: float, text: str, *, size: int = 13, anchor: str = "middle", bold: bool = False
    ) -> None:
        """Write lines of text around a point."""
        colour = self.palette.ink if bold else self.palette.quiet
        weight = ' font-weight="600"' if bold else ""
        for number, line in enumerate(text.split("\n")):
            self.shapes.append(
                f'<text x="{x:g}" y="{y + number * (size + 4):g}" font-size="{size}" fill="{colour}"'
                f' text-anchor="{anchor}"{weight}>{escape(line)}</text>'
            )

    def box(self, x: float, y: float, width: float, height: float, kind: str, *, dashed: bool = False) -> None:
        """Draw a box from its upper left corner."""
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.shapes.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="8" fill="{self.palette.boxes[kind]}"'
            f' stroke="{self.palette.line}"{dash}/>'
        )

    def line(self, path: str, *, arrow: bool = True, dashed: bool = False) -> None:
        """Draw a line along an SVG path."""
        head = ' marker-end="url(#head)"' if arrow else ""
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.shapes.append(
            f'<path d="{path}" fill="none" stroke="{self.palette.line}" stroke-width="1.6"{dash}{head}/>'
        )

    def svg(self) -> str:
        """Return the file."""
        head = (
            '<marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7"'
            f' orient="auto-start-reverse"><path d="M0 0L10 5L0 10z" fill="{self.palette.line}"/></marker>'
        )
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" role="img">',
                '<g font-family="system-ui, sans-serif">',
                f"<title>{escape(self.title)}</title>",
                f"<defs>{head}</defs>",
                *self.shapes,
                "</g>",
                "</svg>",
                "",
            ]
        )


def life(palette: Palette) -> Drawing:
    """Draw the parts of a token's life, on one line."""
    drawing = Drawing(760, 190, "A token's life: fresh, stale, spent", palette)
    left, width, top = 30, 700, 60
    due, end = left + 0.80 * width, left + 0.90 * width
    for start, stop, kind, name in (
        (left, due, "good", "fresh"),
        (due, end, "due", "stale"),
        (end, left + width, "bad", "spent"),
    ):
        drawing.box(start, top, stop - start, 54, kind)
        drawing.text((start + stop) / 2, top + 32, name, size=15, bold=True)
    drawing.text(left + 0.4 * width, top - 12, "handed out at once, nothing else happens")
    drawing.text(due - 30, top - 30, "handed out at once, one refresh in progress", anchor="middle")
    drawing.line(f"M{due + 35} {top - 24} L{due + 35} {top - 4}")
    for x, label in (
        (left, "0 %\nrequested"),
        (left + 0.5 * width, "50 %\nnever renewed\nbefore"),
        (left + 0.75 * width, "75 to 80 %\nrenewal due"),
        (end, "10 s before the end,\nat most 10 %"),
    ):
        drawing.line(f"M{x:g} {top + 54} L{x:g} {top + 66}", arrow=False)
        # The last two would meet.
        anchor = "start" if x == left else "end" if label.startswith("75") else "middle"
        drawing.text(x + 18 if anchor == "end" else x, top + 82, label, size=12, anchor=anchor)
    return drawing


def states(palette: Palette) -> Drawing:
    """Draw the four states, and what leads from one to another."""
    drawing = Drawing(780, 400, "The states of a token: empty, fresh, stale, spent", palette)
    for x, y, kind, name, said in (
        (30, 60, "plain", "empty", "callers wait\nfor the one refresh"),
        (300, 60, "good", "fresh", "handed out\nat once"),
        (560, 60, "due", "stale", "handed out at once;\none refresh in progress"),
        (430, 290, "bad", "spent", "callers wait\nfor the one refresh"),
    ):
        drawing.box(x, y, 170, 84, kind)
        drawing.text(x + 85, y + 26, name, size=16, bold=True)
        drawing.text(x + 85, y + 48, said)
    drawing.line("M200 102 L298 102")
    drawing.text(249, 78, "a token\narrived")
    drawing.line("M470 82 L558 82")
    drawing.text(514, 68, "renewal due")
    drawing.line("M558 122 L472 122")
    drawing.text(514, 140, "a token\narrived")
    drawing.line("M630 144 C630 200 610 250 575 288")
    drawing.text(640, 190, "refreshes failed until\nit expired, or the API\nrefused it (401)", anchor="start")
    drawing.line("M370 144 C370 210 400 250 450 288")
    drawing.text(364, 232, "the API refused it (401)", anchor="end")
    drawing.line("M500 288 C490 240 450 190 430 146")
    drawing.text(508, 212, "a token\narrived")
    return drawing


def sequence(palette: Palette) -> Drawing:
    """Draw who speaks when, in the two cases that matter: nobody has a token yet; a renewal is due."""
    drawing = Drawing(760, 640, "Callers, the manager and the token endpoint", palette)
    lanes = {"one": 90, "another": 250, "manager": 440, "endpoint": 660}
    names = ("a request", "another request", "TokenManager", "token endpoint")
    for (_, x), name in zip(lanes.items(), names, strict=True):
        drawing.box(x - 72, 16, 144, 34, "plain")
        drawing.text(x, 38, name, bold=True)
        drawing.line(f"M{x} 50 L{x} 66", arrow=False, dashed=True)
        # Whoever is cancelled is gone.
        drawing.line(f"M{x} 94 L{x} {178 if x == lanes['one'] else 320}", arrow=False, dashed=True)
        drawing.line(f"M{x} 362 L{x} 625", arrow=False, dashed=True)

    def say(y: float, sender: str, receiver: str, what: str, *, back: bool = False) -> None:
        start, stop = lanes[sender], lanes[receiver]
        drawing.line(f"M{start} {y} L{stop - 2 if stop > start else stop + 2} {y}", dashed=back)
        middle = (start + stop) / 2
        if {sender, receiver} == {"one", "manager"}:
            middle = (lanes["another"] + lanes["manager"]) / 2
        drawing.text(middle, y - 7, what)

    drawing.text(12, 84, "No token yet: callers wait, for one and the same token request", anchor="start", bold=True)
    say(118, "one", "manager", "token()")
    say(140, "manager", "endpoint", "asks, once")
    say(162, "another", "manager", "token()")
    drawing.box(378, 178, 124, 40, "due")
    drawing.text(440, 203, "one flight", bold=True)
    drawing.text(90, 204, "cancelled: it ends alone,\nthe flight goes on")
    drawing.shapes.append(f'<path d="M80 168 L100 188 M100 168 L80 188" stroke="{palette.line}" stroke-width="2.5"/>')
    say(258, "endpoint", "manager", "token", back=True)
    say(290, "manager", "another", "token", back=True)

    drawing.text(12, 350, "Renewal is due: nobody waits", anchor="start", bold=True)
    say(386, "one", "manager", "token()")
    say(410, "manager", "one", "the current token, at once", back=True)
    say(434, "manager", "endpoint", "asks, once")
    drawing.box(378, 450, 124, 40, "due")
    drawing.text(440, 475, "one flight", bold=True)
    drawing.line("M250 476 L376 476")
    drawing.text(314, 469, "token()")
    say(514, "manager", "another", "the current token, at once", back=True)
    say(546, "endpoint", "manager", "a new token", back=True)
    say(584, "one", "manager", "token()")
    say(608, "manager", "one", "the new token, at once", back=True)
    return drawing


PICTURES = {"life": life, "states": states, "sequence": sequence}


def files() -> dict[Path, str]:
    """Return every file with what is in it."""
    return {
        HERE / f"{name}-{version}.svg": draw(palette).svg()
        for name, draw in PICTURES.items()
        for version, palette in PALETTES.items()
    }


if __name__ == "__main__":
    for path, svg in files().items():
        path.write_text(svg, encoding="utf-8")
