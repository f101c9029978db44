"""Checkpoints: models of this machine by path or id, and what they are called.

Nothing is downloaded, and nothing is loaded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.options import MODELS, Unavailable

SHOWN = 12  # digits of a digest


def located(path_or_id: Path) -> Path:
    """The folder of a model: itself, or of an id in the local cache of the hub.

    What is neither is given back, for those to refuse who need it.
    """
    if path_or_id.is_dir():
        return path_or_id
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(path_or_id.as_posix(), local_files_only=True))
    except (OSError, ValueError):  # it is not there, or cannot be an id
        return path_or_id


def named(folder: Path, sha256: str) -> str:
    """A model in a table: the name of its folder, or its id, and its digest."""
    return f"{_name(folder)} {sha256[:SHOWN]}"


def variant(folder: Path, default: str, sha256: str) -> str:
    """What a model adds to a result's name, so that no result takes another's place.

    Args:
        folder: where it lies.
        default: name of the default in `MODELS`, which adds nothing.
        sha256: of the weights. Those that are not in `MODELS` are named by it, too.
    """
    place, words = folder.resolve(), re.sub(r"[^\w.]+", "-", _name(folder)).strip("-.")
    if place == (MODELS / default).resolve():
        return ""
    if place.parent == MODELS.resolve():
        return words
    return f"{words}-{sha256[:SHOWN]}"


def _name(folder: Path) -> str:
    """The hub's cache has models--OWNER--NAME/snapshots/COMMIT."""
    place = folder.resolve()
    if place.parent.name == "snapshots":
        return place.parents[1].name.removeprefix("models--").replace("--", "/")
    return place.name


def check_pipeline(folder: Path, parts: Sequence[str]) -> None:
    """Whether a folder is a diffusion pipeline that has `parts`.

    Raises:
        Unavailable: it is not.
    """
    path = folder / "model_index.json"
    if not path.is_file():
        raise Unavailable(f"no pipeline in {folder.name}/ (model_index.json)")
    try:
        index = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        index = None
    if not isinstance(index, dict):
        raise Unavailable(f"{folder.name}/model_index.json is no JSON object")
    kind = index.get("_class_name")
    for part in parts:
        # [library, class], or [null, null] where a pipeline was saved without it
        if not isinstance(index.get(part), list) or not all(index[part]):
            raise Unavailable(
                f"the pipeline in {folder.name}/, {kind}, has no {part}: expected "
                f"one with {', '.join(parts)}"
            )
    for part in parts:
        if not (folder / part).is_dir():
            raise Unavailable(f"no folder {part}/ in {folder.name}/")
