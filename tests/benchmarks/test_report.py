from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from whymask.benchmarks.report import (
    Curve,
    Html,
    bullets,
    document,
    figure,
    gallery,
    paragraph,
    percent,
    plot,
    section,
    table,
    verdict,
    write_report,
)
from whymask.runtime import InputError


class Balance(HTMLParser):
    """Fails on a tag that is closed out of order; keeps every attribute that could fetch something."""

    EMPTY = ("meta", "img", "path", "circle", "polyline")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "xlink:href")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def picture(height: int = 6, width: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def whole_page() -> Html:
    curves = [
        Curve("explainer", (0.1, 0.5), (0.4, 0.9), (0.3, 0.8), (0.5, 1.0)),
        Curve("random", (0.1, 0.5), (0.1, 0.2)),
    ]
    return document(
        "Report",
        [
            section("Words", "a < b & c", bullets(["one", verdict(True, "two"), verdict(False, "three")])),
            section("Figures", gallery([figure(picture(), "first"), figure(picture(), 'a "quoted" caption')])),
            section("Numbers", table(["map", "kept"], [["explainer", "90 %"]], "n = 4", strong=[0])),
            section("Curves", plot(curves, "area", "kept", "with intervals")),
        ],
        "a subtitle",
    )


def test_the_page_needs_nothing_else():
    page = whole_page()
    reader = Balance()
    reader.feed(page)
    assert reader.open == []
    assert reader.links and all(link.startswith("data:image/png;base64,") for link in reader.links)
    assert "http://" not in page and "https://" not in page
    assert not re.search(r"<script|<link|@import|url\(", page)


def test_pictures_come_back_pixel_by_pixel():
    image = picture(9, 4)
    data = re.search(r"base64,([^\"]+)", figure(image, "c")).group(1)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), image)


def test_plain_text_is_escaped_and_pieces_of_html_are_not():
    assert paragraph("<b> & co") == "<p>&lt;b&gt; &amp; co</p>"
    assert paragraph(Html("<b>bold</b>")) == "<p><b>bold</b></p>"
    assert 'alt="a &quot;quoted&quot; one"' in figure(picture(), 'a "quoted" one')


def test_a_verdict_is_told_in_words():
    assert re.sub("<[^>]+>", "", verdict(True, "x")) == "met: x"
    assert re.sub("<[^>]+>", "", verdict(False, "x")) == "not met: x"


def test_a_table_has_its_caption_and_stresses_the_asked_rows():
    text = table(["map", "kept"], [["a", "1"], ["b", "2"]], "n = 2", strong=[1])
    assert "<caption>n = 2</caption>" in text
    assert text.count("class=strong") == 1
    assert text.index("class=strong") > text.index("<td>a</td>")


def test_a_curve_is_drawn_where_its_values_are():
    text = plot([Curve("c", (0.0, 1.0), (0.0, 1.0))], "x", "y", "caption")
    points = re.search(r'points="([^"]+)"', text).group(1).split()
    (left, bottom), (right, top) = ([float(v) for v in point.split(",")] for point in points)
    assert left < right and top < bottom
    assert f'<text x="{left}"' in text and f'<text x="{right}"' in text
    assert 'role="img"' in text and "y over x: c" in text


def test_writing_makes_the_folder(tmp_path: Path):
    path = tmp_path / "new" / "report.html"
    write_report(path, whole_page())
    assert path.read_text(encoding="utf-8") == whole_page()
    assert [each.name for each in path.parent.iterdir()] == ["report.html"]


def test_shares_are_shown_as_per_cent():
    assert percent(0.1234) == "12.3 %"
    assert percent(1.0, 0) == "100 %"


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: table(["a", "b"], [["1"]], "cap"), "'cap': a row of 1 cells under 2 columns"),
        (lambda: figure(np.zeros((2, 2), np.uint8), "c"), r"uint8 \(2, 2\), expected uint8 \(height, width, 3\)"),
        (lambda: figure(np.zeros((2, 2, 3), np.float32), "c"), "float32"),
        (lambda: plot([], "x", "y", "c"), "0 curves, expected 1 to 6"),
        (lambda: Curve("c", (0.1,), (0.1, 0.2)), "'c': x, y, low and high need the same number"),
    ],
    ids=["row", "grey picture", "float picture", "no curve", "uneven curve"],
)
def test_wrong_parts_are_refused(build, words: str):
    with pytest.raises(InputError, match=words):
        build()
