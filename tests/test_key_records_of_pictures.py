"""Key records of pictures: those of other parameters, and those with a registry."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tests.affine import Affine
from tests.pipelines import tiny
from watermark import verification
from watermark.api import Watermark
from watermark.assets.loading import load
from watermark.keys import Key
from watermark.report import Verdict
from watermark.schemes import SCHEMES, noise


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Watermark:
    return Watermark.create(tmp_path_factory.mktemp("acme") / "home", provider="Acme")


def test_a_registry_does_not_hide_another_record() -> None:
    key = Key(np.random.default_rng(1).bytes(32))
    plain = SCHEMES["noise"].record(key, nonce_bits=6)
    listed = SCHEMES["noise"].record(key, registry=1)
    z = np.random.default_rng(2).standard_normal(Affine.shape).astype(np.float32)
    marked, _, _ = noise.mark(z, noise.Code(plain, Affine.shape))
    data = io.BytesIO()
    Affine().picture(marked).save(data, "PNG")
    for records in ((listed, plain), (plain, listed)):
        setting = verification.Setting(records=records, inverter=Affine())
        report = verification.verify(load(data.getvalue()), setting)

        assert report.verdict == Verdict.MARKED


def test_a_registry_alone_is_inconclusive() -> None:
    key = Key(np.random.default_rng(1).bytes(32))
    listed = SCHEMES["noise"].record(key, registry=1)
    setting = verification.Setting(records=[listed], inverter=Affine())
    report = verification.verify(load(Image.new("RGB", (40, 40))), setting)

    assert report.verdict == Verdict.INCONCLUSIVE
    assert "no-registry" in {reason.code for reason in report.reasons}


def test_a_record_of_other_parameters_is_kept_for_verification(w: Watermark) -> None:
    pipe = tiny.stable_diffusion()
    before = {r.test for r in w.home.key_records()}
    with w.attach(pipe, nonce_bits=8) as attachment:
        pass
    after = {r.test for r in w.home.key_records()}

    assert attachment.key_record.test in after - before
