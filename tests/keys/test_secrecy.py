"""What is secret stays so: nothing that holds a key shows or writes it."""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from tests.keys.conftest import SECRET

from watermark.keys import Key, KeyRecord, KeyRing, RingEntry


def _ring(key: Key) -> KeyRing:
    return KeyRing.of(key)


def _record(key: Key) -> KeyRecord:
    return KeyRecord(kid=key.kid, scheme="gumbel", key=key)


HOLDERS: list[Any] = [
    pytest.param(lambda key: key, id="Key"),
    pytest.param(_record, id="KeyRecord"),
    pytest.param(_ring, id="KeyRing"),
    pytest.param(RingEntry, id="RingEntry"),
]
SHOWN = [SECRET.hex(), base64.b64encode(SECRET).decode(), repr(SECRET)[2:-1]]


@pytest.mark.parametrize("hold", HOLDERS)
def test_no_text_shows_the_secret(key: Key, hold: Callable[[Key], Any]) -> None:
    holder = hold(key)
    for text in (repr(holder), str(holder), f"{holder}", f"{[holder]}"):
        assert key.kid in text
        assert not any(form in text for form in SHOWN)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("hold", HOLDERS)
def test_pickling_is_refused(
    key: Key, hold: Callable[[Key], Any], protocol: int
) -> None:
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(hold(key), protocol)


@pytest.mark.parametrize("hold", HOLDERS)
def test_json_is_refused(key: Key, hold: Callable[[Key], Any]) -> None:
    with pytest.raises(TypeError) as caught:
        json.dumps(hold(key))

    assert not any(form in str(caught.value) for form in SHOWN)


def test_a_record_writes_no_secret(key: Key) -> None:
    text = json.dumps(_record(key).to_dict())

    assert not any(form in text for form in SHOWN)
