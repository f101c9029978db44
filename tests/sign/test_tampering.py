"""Nothing that was changed is trusted; the counts of the issue are the benchmark's."""

import random
from pathlib import Path

import pytest
from benchmarks.conformance import changes, tampering
from benchmarks.options import Options

from watermark.sign.credential import Credential


@pytest.fixture(scope="module")
def victims(credential: Credential) -> list[tampering.Victim]:
    return list(tampering.small(credential))


def test_flipped_bits_are_trusted_only_where_nobody_signs(
    victims: list[tampering.Victim],
) -> None:
    for victim in victims:
        outcome = tampering.flip(victim, stride=251)

        assert outcome.wrong == []
        assert outcome.states["invalid"] > 50


def test_what_nobody_signs_is_padding_and_the_boxes_around(
    victims: list[tampering.Victim],
) -> None:
    """In a wrapper, where the padding is short, it is little."""
    wrapper = victims[1]
    structure = len(wrapper.loose_store) - wrapper.store.count(b"\0\0\0\0\0\0\0\0\0")

    assert wrapper.name == "text wrapper"
    assert structure < 700


@pytest.mark.parametrize("seed", range(3))
def test_damaged_files_are_not_trusted(
    victims: list[tampering.Victim], seed: int
) -> None:
    outcome = tampering.corrupt(victims, 60, seed)

    assert outcome.wrong == []
    assert outcome.states["invalid"] > 20


def test_a_trusted_change_would_be_seen(victims: list[tampering.Victim]) -> None:
    """Against a reader that trusts everything, nearly every change is a finding."""
    victim = victims[0]
    trusting = tampering.Victim(
        name=victim.name,
        data=victim.data,
        read=lambda _: victim.read(victim.data),
        loose=victim.loose,
        store=victim.store,
        loose_store=victim.loose_store,
        said=victim.said,
    )
    changes = 0
    draw = random.Random(1)
    for _ in range(40):
        outcome = tampering.corrupt([trusting], 1, draw.randrange(1 << 30))
        changes += len(outcome.wrong)
    assert changes > 25


def test_a_run_that_was_stopped_goes_on(tmp_path: Path) -> None:
    """Over the same signed files: what is on file is not done again."""
    options = Options(work=tmp_path)
    first, new, reused = changes.corruptions(options, changes.FILES)
    assert (new, reused, first.wrong) == (1, 0, [])
    assert sum(first.states.values()) > 0.9 * changes.FILES

    again, new, reused = changes.corruptions(options, 2 * changes.FILES)
    assert (new, reused, again.wrong) == (1, 1, [])
    assert sum(again.states.values()) > 1.8 * changes.FILES
    assert len(list(tmp_path.glob("signed-*"))) == 1
