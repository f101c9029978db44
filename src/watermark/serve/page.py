"""The verify page: a form, and the report on one content. It works without scripts."""

from __future__ import annotations

from typing import Any

from watermark.assets import MEDIA_TYPES
from watermark.serve import panels, words
from watermark.serve.markup import Content, Markup, join, page, tag, visible

TYPES = ",".join(suffix for m in MEDIA_TYPES.values() for suffix in m.suffixes)
_Json = dict[str, Any]


def form(provider: str, megabytes: int, contact: str = "") -> str:
    """The page with the form."""
    return _page(
        "Check a file or a text",
        tag(
            "p",
            f"Find out whether {visible(provider)} made or marked a picture, a sound "
            "or a text. What you send is looked at and forgotten: nothing is stored.",
            class_="lead",
        ),
        _form(megabytes),
        tag(
            "section",
            tag("h2", "What the answer says"),
            tag(
                "dl",
                *(
                    join([tag("dt", _word(verdict)), tag("dd", meaning)])
                    for verdict, meaning in words.MEANING.items()
                ),
                class_="verdicts",
            ),
            tag(
                "p",
                "No answer says that a person made something: a mark can be removed, "
                "and other makers have marks that are not known here.",
            ),
        ),
        provider=provider,
        contact=contact,
    )


def problem(provider: str, title: str, detail: str) -> str:
    """The page that says why there is no report."""
    return _page(
        title,
        tag("p", f"{detail[:1].upper()}{detail[1:]}.", class_="lead", role="alert"),
        tag("p", tag("a", "Check something else", href="/")),
        provider=provider,
    )


def report(
    provider: str,
    seen: _Json,
    *,
    full: bool,
    name: str,
    jws: str | None,
    contact: str = "",
) -> str:
    """The page with a report.

    Args:
        provider: who runs this.
        seen: of `child.Examiner.verify`.
        full: whether numbers and places are shown.
        name: of the file, as the visitor's browser has it; or "".
        jws: the signed report, or None: it could not be signed.
        contact: URL where somebody hears of mistakes, or "".
    """
    found, max_fpr = seen["report"], seen["max_fpr"]
    public = words.public(found, max_fpr)
    verdict = found["verdict"] if full else public["verdict"]
    listed = [
        tag("li", tag("code", code), " ", visible(sentence))
        for code, sentence in words.reasons(found, full=full)
    ]
    what = visible(name)[:120] or "The text that you pasted"
    return _page(
        f"{_word(verdict)}: {what}",
        tag(
            "div",
            tag("p", _word(verdict), class_="verdict"),
            tag("p", words.MEANING[verdict]),
            class_=f"card {verdict.lower().replace('_', '-')}",
            role="status",
        ),
        tag("ul", *listed, class_="reasons") if listed else None,
        tag("h2", "What was looked at"),
        panels.layers(public),
        panels.numbers(found, max_fpr) if full else panels.coarse(),
        panels.passages(seen) if full else None,
        *(panels.picture_map(e) for e in found["evidence"] if full and e["map"]),
        panels.manifests(seen["trees"]),
        tag("h2", "Keep this report"),
        panels.download(jws),
        tag(
            "p",
            "SHA-256 of the content: ",
            tag("code", found["sha256"], class_="digest"),
        ),
        tag("p", tag("a", "Check something else", href="/", class_="button quiet")),
        provider=provider,
        contact=contact,
        heading="Report",
        subtitle=what,
    )


# --- parts ----------------------------------------------------------------------------


def _page(
    title: str,
    *content: Content,
    provider: str,
    contact: str = "",
    heading: str | None = None,
    subtitle: str = "",
) -> str:
    name = visible(provider)
    return page(
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            tag("title", f"{title} - {name}"),
            tag("link", rel="icon", href="/static/icon.svg", type="image/svg+xml"),
            tag("link", rel="stylesheet", href="/static/style.css"),
            tag("script", src="/static/page.js", defer=True),
        ),
        tag(
            "body",
            tag("a", "To the content", href="#main", class_="skip"),
            tag("header", tag("a", f"{name} verify", href="/", class_="home")),
            tag(
                "main",
                tag("h1", heading or title),
                tag("p", subtitle, class_="subtitle") if subtitle else None,
                *content,
                id="main",
                tabindex="-1",
            ),
            tag(
                "footer",
                tag("p", words.CAUTION),
                tag("p", tag("a", "Tell us if this is wrong", href=contact))
                if contact
                else None,
                tag(
                    "p",
                    "For programs: ",
                    tag("a", "openapi.json", href="/openapi.json"),
                    ", with the Soft Binding Resolution API of C2PA 2.4.",
                ),
            ),
        ),
    )


def _form(megabytes: int) -> Markup:
    return tag(
        "form",
        tag(
            "fieldset",
            tag("legend", "A file, or a text"),
            tag(
                "div",
                tag("label", "Choose a file", for_="file"),
                tag("input", type="file", id="file", name="file", accept=TYPES),
                tag(
                    "p",
                    f"A picture, sound, video, document or text of up to {megabytes} "
                    "MB. The original file says more than a screenshot.",
                    class_="hint",
                    id="file-hint",
                ),
                class_="drop",
                id="drop",
            ),
            tag(
                "div",
                tag("label", "or paste a text", for_="text"),
                tag("textarea", id="text", name="text", rows="8", spellcheck="false"),
            ),
        ),
        tag(
            "details",
            tag("summary", "I have an access token"),
            tag("label", "Access token, for p-values and places", for_="token"),
            tag(
                "input",
                type="password",
                id="token",
                name="token",
                autocomplete="off",
            ),
        ),
        tag("button", "Check", type="submit", id="check"),
        tag("p", "", id="status", role="status", class_="hint"),
        method="post",
        action="/verify",
        enctype="multipart/form-data",
    )


def _word(verdict: str) -> str:
    return verdict.replace("_", " ").capitalize()
