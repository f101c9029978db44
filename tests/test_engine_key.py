"""EngineKey: what is secret stays so, what is guessable says so."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from watermark.errors import KeyFileError, WeakKey
from watermark.keys import EngineKey, KeyRecord
from watermark.schemes import SCHEMES
from watermark.schemes.foreign import FOREIGN

SECRET = 0x6B43A9B5D1E5F2C7


def test_the_id_is_public_and_the_same_each_time() -> None:
    key = EngineKey((SECRET,))
    slow = Scrypt(b"watermark-sdk/engine-key/1", length=8, n=1 << 14, r=8, p=1)

    assert key.kid == EngineKey([SECRET]).kid
    assert key.kid == "e" + slow.derive(str(SECRET).encode()).hex()
    assert key.kid != EngineKey((SECRET, SECRET)).kid != EngineKey((SECRET + 1,)).kid


def test_the_numbers_are_not_shown() -> None:
    key = EngineKey((SECRET,))
    record = FOREIGN["hf-kgw"].record(EngineKey((SECRET >> 1,)), vocab_size=1000)
    shown = f"{key!r} {key} {record!r} {json.dumps(record.to_dict())}"

    for number in (SECRET, SECRET >> 1):
        assert str(number) not in shown
        assert f"{number:x}" not in shown
    assert key.kid in shown


def test_a_key_is_compared_but_never_pickled() -> None:
    key, same, other = (EngineKey((n,)) for n in (SECRET, SECRET, 7))

    assert key == same != other
    assert hash(key) == hash(same)
    assert copy.copy(key) is copy.deepcopy(key) is key
    assert key != SECRET
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(key)


@pytest.mark.parametrize(
    ("numbers", "weak"),
    [
        ((15485863,), True),
        ((42,), True),
        ((0,), True),
        ((-1,), True),
        ((2**32 - 1,), True),
        ((2**33,), False),
        ((SECRET,), False),
        ((0x0123456789ABCDEF, 0xFEDCBA9876543210), True),
        ((654, 400, 836, 123, 340, 443, 597, 160, 57), True),
        ((7,) * 30, True),
        ((54321, 12345, 40404, 50505), False),
    ],
)
def test_published_and_small_keys_are_weak(
    numbers: tuple[int, ...], weak: bool
) -> None:
    assert EngineKey(numbers).weak is weak


@pytest.mark.parametrize(
    "numbers",
    [(), (1,) * 257, (1 << 64,), (-(1 << 63) - 1,), ("7",), (7.0,), (True,), (None,)],
)
def test_what_is_no_engines_key_is_refused_and_not_shown(numbers: Any) -> None:
    with pytest.raises(WeakKey) as caught:
        EngineKey(numbers)

    assert str(1 << 64) not in str(caught.value)


def test_nothing_of_ours_is_made_with_an_engines_key() -> None:
    record = SCHEMES["gumbel"].record(EngineKey((SECRET,)))
    with pytest.raises(WeakKey, match="another engine"):
        record.derive("context")


def test_a_record_knows_its_key() -> None:
    key = EngineKey((SECRET,))
    record = FOREIGN["kgw"].record(key, vocab_size=1000)
    bare = KeyRecord.from_dict(record.to_dict())

    assert record == bare
    assert record.key is key
    with pytest.raises(WeakKey, match="another engine"):
        _ = record.secret
    with pytest.raises(KeyFileError):
        _ = bare.secret


def test_a_record_that_was_read_takes_no_engines_key_unchecked() -> None:
    """A dual record with one number would test every token under key A."""
    record = FOREIGN["sglang-gumbel"].record(EngineKey((SECRET,)))
    data = record.to_dict() | {"parameters": {**record.parameters, "dual": 1}}
    for key in (EngineKey((SECRET,)), EngineKey((7,))):
        with pytest.raises(WeakKey, match="load_records") as caught:
            KeyRecord.from_dict(data, key=key)  # type: ignore[arg-type]
        assert str(SECRET) not in str(caught.value)
