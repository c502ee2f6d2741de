"""Ascon against its authors' known answers (github.com/ascon/ascon-c, 446347f), and against the standard read once more."""

import numpy as np
import pytest

from bitting.locking import ascon
from tb import ascon_reference as reference
from tb.ascon_reference import known_answers

#: Of the known answers, all of them or every so many.
EVERY = pytest.mark.parametrize("every", [11, pytest.param(1, marks=pytest.mark.slow)])


@EVERY
def test_aead_known_answers(every):
    answers = list(known_answers("aead128.txt.gz"))
    assert len(answers) == 1089
    plain = [answer for answer in answers if not answer["AD"]]
    assert len(plain) == 33
    for answer in answers[::every]:
        text, tag = reference.aead(answer["Key"], answer["Nonce"], answer["AD"], answer["PT"], opens=False)
        assert text + tag == answer["CT"]
    for answer in plain:
        nonces, texts = (np.frombuffer(answer[name], np.uint8)[None] for name in ("Nonce", "PT"))
        sealed, tags = ascon.encrypt(answer["Key"], nonces, texts)
        assert sealed.tobytes() + tags.tobytes() == answer["CT"]
        opened, again = ascon.decrypt(answer["Key"], nonces, sealed)
        assert opened.tobytes() == answer["PT"] and (again == tags).all()


@EVERY
def test_cxof_known_answers(every):
    answers = list(known_answers("cxof128.txt.gz"))
    assert len(answers) == 1089
    for answer in answers[::every]:
        assert ascon.cxof(answer["Z"], answer["Msg"], 64) == answer["MD"]
    for answer in answers[:: 37 * every]:
        assert reference.cxof(answer["Z"], answer["Msg"], 64) == answer["MD"]


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 15, 16, 17, 100])
def test_many_messages_at_once_are_as_one_by_one(length):
    rng = np.random.default_rng(length)
    key = rng.bytes(16)
    nonces = rng.integers(0, 256, (5, 16), np.uint8)
    texts = rng.integers(0, 256, (5, length), np.uint8)
    sealed, tags = ascon.encrypt(key, nonces, texts)
    for row in range(5):
        expected = reference.aead(key, nonces[row].tobytes(), b"", texts[row].tobytes(), opens=False)
        assert (sealed[row].tobytes(), tags[row].tobytes()) == expected
    opened, again = ascon.decrypt(key, nonces, sealed)
    assert np.array_equal(opened, texts) and np.array_equal(again, tags)
