"""The repositories that a user allows to be asked: base URLs, and the list of them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from watermark.errors import HomeError
from watermark.files import write_atomically

FILE = "repositories.txt"  # in the home; one URL a line
MAX_URL = 1024  # characters; what is asked for stands behind it
MOST = 16  # repositories: each of them is asked about every mark
# RFC 3986: what stands in no URL, and what parts a user, a query or a fragment from it.
_NEVER = frozenset(' "<>\\^`{|}@?#')
_USER = re.compile(r"//[^/]*@")  # a password may stand there: it is not said again


def base_url(url: str) -> str:
    """The base URL of a repository, such as ``https://repository.acme.example/v1``.

    Plain http is for this machine alone: on any other way there, everybody would see
    which marks are asked for.

    Raises:
        ValueError: it is no https URL, or holds a user, query or fragment.
    """
    if not _is_base(url):
        shown = _USER.sub("//...@", url)[:200]
        raise ValueError(
            f"found the repository {shown!r}, expected an https URL without user, "
            "query and fragment (http for this machine alone, as http://localhost:8000)"
        )
    return url.rstrip("/")


def read(folder: Path) -> tuple[str, ...]:
    """The list in a folder, in its order; empty where there is none.

    Raises:
        HomeError: it cannot be read, or holds what is no base URL.
    """
    path = folder / FILE
    try:
        return _checked(path.read_text(encoding="utf-8").split(), path)
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise HomeError(f"{path} cannot be read: {error}") from error


def write(folder: Path, urls: Iterable[str]) -> None:
    """Make this the list in a folder.

    Raises:
        HomeError: one is no base URL, there are too many, or it cannot be written.
    """
    path = folder / FILE
    text = "".join(f"{url}\n" for url in _checked(urls, path))
    try:
        write_atomically(path, text.encode(), replace=True)
    except OSError as error:
        raise HomeError(f"{path} cannot be written: {error}") from error


def _checked(urls: Iterable[str], path: Path) -> tuple[str, ...]:
    try:
        found = tuple(dict.fromkeys(map(base_url, urls)))
    except ValueError as error:
        raise HomeError(f"{path}: {error}") from None
    if len(found) > MOST:
        raise HomeError(
            f"{path}: found {len(found)} repositories, expected at most {MOST}: each "
            "of them is asked about every mark"
        )
    return found


def _is_base(url: str) -> bool:
    if not url.isascii() or not url.isprintable() or set(url) & _NEVER:
        return False
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    here = parts.scheme == "http" and _is_loopback(host)
    good = bool(host) and port != 0 and len(url) <= MAX_URL
    return good and (parts.scheme == "https" or here)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
