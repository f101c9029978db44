"""A home that has all that the laws ask for, and one picture of it."""

from __future__ import annotations

import pytest
from tests.labelling.outputs import embedded, home, made, picture

from watermark.api import Watermark
from watermark.marked import Marked


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Watermark:
    return home(tmp_path_factory.mktemp("acme") / "home")


@pytest.fixture(scope="module")
def marked(w: Watermark) -> Marked:
    """One picture under the three laws."""
    return embedded(w, picture(), record=made(), format="png")
