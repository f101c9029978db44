"""The parts of a report on the page, each a piece of HTML or nothing."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any

from watermark.serve import words
from watermark.serve.markup import Content, Markup, join, tag, visible

_Json = dict[str, Any]


def layers(public: _Json) -> Markup:
    """What was found in each layer."""
    rows = []
    for layer, label in (
        ("mark", "Mark in the content"),
        ("manifest", "Signed manifest"),
        ("label", "Label"),
        ("ledger", "Ledger of the provider"),
    ):
        found = public["layers"].get(layer, [])
        listed = [found] if isinstance(found, dict) else found
        for told in listed:
            if told["state"] == "none" and len(listed) > 1:
                continue  # what was found besides says more
            cell = tag("td", _told(layer, told))
            rows.append(tag("tr", tag("th", label, scope="row"), cell))
    for record_id in public["record_ids"]:
        cell = tag("td", tag("code", record_id, class_="digest"))
        rows.append(tag("tr", tag("th", "Record", scope="row"), cell))
    return tag("table", tag("tbody", *rows), class_="layers")


def _told(layer: str, told: _Json) -> str:
    more = [", ".join(told.get("schemes", ()))]
    if told.get("signer"):
        more.append(f"signer: {visible(told['signer'])}")
    codes = told.get("codes", ())
    if told["state"] != "recovered":
        more += codes
    elif codes:  # nothing else is wrong with one that was recovered
        more.insert(0, "the content was changed since it was signed")
    said = words.state(layer, told["state"])
    return "; ".join(part for part in [said, *more] if part)


def coarse() -> Markup:
    """Why there are no numbers."""
    return tag(
        "p",
        "Numbers and places are shown to holders of an access token only: from them, "
        "marks could be removed step by step.",
        class_="hint",
    )


def numbers(found: _Json, max_fpr: float) -> Markup | None:
    """The p-value of each test, the smallest first."""
    marks = [e for e in found["evidence"] if e["log10_p"] is not None]
    if not marks:
        return None
    marks.sort(key=lambda e: e["log10_p"])
    heads = (
        "Scheme and key",
        "Chance without a mark",
        "log10 p",
        "Observed",
        "Carries",
    )
    rows = [
        tag(
            "tr",
            tag("th", e["scheme"], tag("br"), tag("code", e["key_id"]), scope="row"),
            tag("td", words.chance(e["log10_p"])),
            tag("td", f"{e['log10_p'] + 0.0:.1f}"),
            tag("td", f"{e['n']:,}"),
            tag("td", tag("code", e["payload"] or "")),
            class_="fires" if words.fires(e, max_fpr) else None,
        )
        for e in marks[:50]
    ]
    return tag(
        "section",
        tag("h2", "In numbers"),
        tag(
            "div",
            tag(
                "table",
                tag("thead", tag("tr", *(tag("th", h, scope="col") for h in heads))),
                tag("tbody", *rows),
            ),
            class_="scroll",
            tabindex="0",
            role="region",
            aria_label="p-values",
        ),
        tag("p", f"A mark decides at {max_fpr:g}, and all tests count.", class_="hint"),
    )


def passages(seen: _Json) -> Markup | None:
    """A text, with what is marked of it."""
    text = seen["text"]
    spans = sorted({tuple(s) for e in seen["report"]["evidence"] for s in e["spans"]})
    if not text or not spans:
        return None
    return tag(
        "section",
        tag("h2", "Where it is marked"),
        tag("pre", *_marked(text, spans), tabindex="0", class_="passages"),
    )


def _marked(text: str, spans: Sequence[tuple[int, ...]]) -> Iterator[Content]:
    place = 0
    for start, end in spans:
        start = max(place, start)
        if end > start:
            yield text[place:start]
            yield tag("mark", text[start:end])
            place = end
    yield text[place:]


def picture_map(evidence: _Json) -> Markup:
    """A picture's map as a grid: the darker, the more of a mark."""
    grid = evidence["map"]
    top = max((abs(v) for row in grid for v in row), default=0.0) or 1.0
    cells = [
        tag(
            "rect",
            x=str(x),
            y=str(y),
            width="1",
            height="1",
            fill_opacity=f"{max(0.0, min(1.0, value / top)):.2f}",
        )
        for y, row in enumerate(grid)
        for x, value in enumerate(row)
    ]
    width = max(map(len, grid))
    return tag(
        "figure",
        tag(
            "svg",
            *cells,
            viewBox=f"0 0 {width} {len(grid)}",
            role="img",
            aria_label=f"where the picture carries {evidence['scheme']}",
            class_="map",
        ),
        tag("figcaption", f"Where {evidence['scheme']} is: the darker, the more."),
    )


def manifests(nodes: list[_Json]) -> Markup | None:
    """What they say of themselves; whether it holds, the layers have told."""
    if not nodes:
        return None
    heading = "What the manifest says" if len(nodes) == 1 else "What the manifests say"
    return tag(
        "section",
        tag("h2", heading),
        tag("p", "In its own words; whether they hold is told above.", class_="hint"),
        tag("ul", *map(_node, nodes), class_="tree"),
    )


def _node(node: _Json) -> Markup:
    inner: list[Content] = [
        tag("li", f"{visible(action['action'])}", _source(action["source"]))
        for action in node["actions"]
    ]
    for each in node["ingredients"]:
        words_ = (each["relationship"], each["title"], each["format"])
        said = ", ".join(visible(word) for word in words_ if word)
        below = each.get("manifest")
        inner.append(
            tag("li", f"from: {said}", tag("ul", _node(below)) if below else None)
        )
    made = f" by {visible(node['generator'])}" if node["generator"] else ""
    label = tag("code", visible(node["label"]), class_="digest")
    return tag("li", label, made, tag("ul", *inner) if inner else None)


def _source(uri: str) -> str:
    return f": {visible(uri.rpartition('/')[2])}" if uri else ""


def download(jws: str | None) -> Markup:
    """The signed report, in a link: it is stored nowhere else."""
    if jws is None:
        return tag("p", "This report cannot be signed here now.", class_="hint")
    data = base64.b64encode(jws.encode()).decode()
    link = tag(
        "a",
        "Download the signed report",
        href=f"data:application/jose;base64,{data}",
        download="watermark-report.jws",
        class_="button",
    )
    about = (
        "A JSON Web Signature: it names the content's SHA-256, the detector, the time "
        "and what was found."
    )
    return join([tag("p", link), tag("p", about, class_="hint")])
