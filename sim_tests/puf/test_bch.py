"""BCH codes against published tables, two libraries, and all words of small ones; no wrong word is called corrected unseen."""

import math

import galois
import numpy as np
import pytest

from bitting.errors import BittingError, PufError
from bitting.puf import bch
from bitting.unit.bch import PRIMITIVE_POLYNOMIALS, BchCode, correctable, powers
from tb import bch_library

#: n -> (k, t), Lin and Costello, Error Control Coding, table 6.1.
PUBLISHED = {
    15: "11 1, 7 2, 5 3",
    31: "26 1, 21 2, 16 3, 11 5, 6 7",
    63: "57 1, 51 2, 45 3, 39 4, 36 5, 30 6, 24 7, 18 10, 16 11, 10 13, 7 15",
    127: "120 1, 113 2, 106 3, 99 4, 92 5, 85 6, 78 7, 71 9, 64 10, 57 11, 50 13, 43 14, 36 15, 29 21, 22 23, 15 27, 8 31",
    255: "247 1, 239 2, 231 3, 223 4, 215 5, 207 6, 199 7, 191 8, 187 9, 179 10, 171 11, 163 12, 155 13, "
    "147 14, 139 15, 131 18, 123 19, 115 21, 107 22, 99 23, 91 25, 87 26, 79 27, 71 29, 63 30, 55 31, 47 42, "
    "45 43, 37 45, 29 47, 21 55, 13 59, 9 63",
}
#: (n, t) -> generator polynomial in octal, as tables print it.
GENERATORS = {
    (15, 1): "23", (15, 2): "721", (15, 3): "2467", (31, 1): "45", (31, 2): "3551", (31, 3): "107657", (31, 5): "5423325",
    (31, 7): "313365047", (63, 1): "103", (63, 2): "12471", (63, 3): "1701317", (63, 4): "166623567", (127, 1): "211",
    (127, 2): "41567", (127, 3): "11554743", (255, 1): "435", (255, 2): "267543", (255, 3): "156720665",
}  # fmt: skip


def all_words(bits):
    return np.arange(1 << bits)[:, None] >> np.arange(bits) & 1


def sphere(code):
    """Words within t bits of one."""
    return sum(math.comb(code.n, errors) for errors in range(code.t + 1))


@pytest.mark.parametrize("n", PUBLISHED)
def test_sizes_are_those_of_the_published_table(n):
    m = n.bit_length()
    found = [(BchCode(m, t).k, t) for t in correctable(m) if BchCode(m, t).k > 1]
    assert found == [tuple(map(int, pair.split())) for pair in PUBLISHED[n].split(", ")]


def test_generators_are_those_of_the_published_table():
    assert {key: f"{BchCode(key[0].bit_length(), key[1]).generator:o}" for key in GENERATORS} == GENERATORS


@pytest.mark.parametrize("m", PRIMITIVE_POLYNOMIALS)
def test_alpha_is_primitive(m):
    assert sorted(powers(m)) == list(range(1, 1 << m))


@pytest.mark.slow  # galois compiles while it runs
@pytest.mark.parametrize("m", PRIMITIVE_POLYNOMIALS)
def test_every_generator_is_that_of_galois(m):
    for t in correctable(m)[:-1]:  # the last one repeats a bit
        code = BchCode(m, t)
        assert code.generator == int(galois.BCH(code.n, d=2 * t + 1).generator_poly)


@pytest.mark.parametrize(("m", "t"), [(4, 2), (5, 3), (6, 4), (8, 11)])
def test_encoded_words_are_those_of_galois(m, t, rng):
    code = BchCode(m, t)
    messages = rng.integers(0, 2, (50, code.k))
    words = bch.encode(code, messages)
    theirs = np.asarray(galois.BCH(code.n, code.k).encode(galois.GF2(messages[:, ::-1].astype(np.uint8))))
    assert np.array_equal(words[:, ::-1], theirs), "they write the highest coefficient first"
    assert not bch.syndromes(code, words).any()


@pytest.mark.slow
@pytest.mark.parametrize("every", [16, pytest.param(1, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("t", [2, 3])
def test_words_of_a_small_code_are_decoded_as_galois_does(t, every, rng):
    """All of them, or every so many in an order of chance: galois is slow."""
    code = BchCode(4, t)
    words = rng.permutation(all_words(code.n))
    corrected, failed = bch.decode(code, words, np.zeros((len(words), code.check_bits), int))
    theirs, errors = galois.BCH(code.n, code.k).decode(
        galois.GF2(words[::every, ::-1].astype(np.uint8)), output="codeword", errors=True
    )
    assert np.array_equal(failed[::every], errors < 0)
    assert np.array_equal(corrected[::every][~failed[::every], ::-1], np.asarray(theirs)[~failed[::every]])
    assert (~failed).sum() == (1 << code.k) * sphere(code), "all within t bits of a word of the code, and no other"


@pytest.mark.slow
def test_galois_decodes_the_default_code_alike(rng):
    code = BchCode(8, 11)
    words = bch.encode(code, rng.integers(0, 2, (600, code.k))) ^ bch_library.errors(rng, 600, code.n, code.t + 4)
    corrected, failed = bch.decode(code, words, np.zeros((len(words), code.check_bits), int))
    theirs, errors = galois.BCH(code.n, code.k).decode(galois.GF2(words[:, ::-1]), output="codeword", errors=True)
    assert np.array_equal(failed, errors < 0) and 0 < failed.sum() < 600
    assert np.array_equal(corrected[~failed, ::-1], np.asarray(theirs)[~failed])


@pytest.mark.parametrize(("m", "t"), [(4, 1), (4, 2), (4, 3), (5, 2), (5, 3), (6, 3)])
def test_as_many_syndromes_are_corrected_as_there_are_errors_to_correct(m, t):
    """Every syndrome there is. A wrong word called corrected is within t bits of the noisy one, so this counts those too."""
    code = BchCode(m, t)
    sketches = all_words(code.check_bits)
    zeros = np.zeros((len(sketches), code.n), int)
    corrected, failed = bch.decode(code, zeros, sketches)
    assert (~failed).sum() == sphere(code)
    assert np.array_equal(bch.syndromes(code, corrected)[~failed], sketches[~failed]), "never a word with another syndrome"
    assert corrected[~failed].sum(axis=1).max() == code.t


def test_words_too_far_from_their_own_are_mistaken_as_often_as_theory_says(rng):
    """Decoded to another word, that is: the part of all syndromes that t errors can have. For the default code it is 4 e-7."""
    code, count = BchCode(6, 3), 40_000
    words = rng.integers(0, 2, (count, code.n))
    sketches = bch.syndromes(code, words)
    far = words ^ rng.integers(0, 2, words.shape)
    corrected, failed = bch.decode(code, far, sketches)
    mistaken = (~failed & (corrected != words).any(axis=1)).sum()
    share = sphere(code) / (1 << code.check_bits)
    assert abs(mistaken - count * share) < 5 * math.sqrt(count * share * (1 - share))
    default = BchCode(8, 11)
    assert 2e-7 < sphere(default) / (1 << default.check_bits) < 5e-7


@pytest.mark.parametrize("t", [1, 5, 11, 18, 31, 63])
def test_errors_up_to_t_are_corrected(t, rng):
    code = BchCode(8, t)
    words = rng.integers(0, 2, (300, code.n))
    noisy = words ^ bch_library.errors(rng, 300, code.n, t)
    corrected, failed = bch.decode(code, noisy, bch.syndromes(code, words))
    assert not failed.any() and np.array_equal(corrected, words)


def test_bits_lie_in_words_lowest_first():
    bits = np.zeros((1, 84), np.uint8)
    bits[0, [0, 31, 32, 83]] = 1
    assert bch.packed(bits).tolist() == [[1 | 1 << 31, 1, 1 << 19]]
    assert np.array_equal(bch.unpacked(bch.packed(bits), 84), bits)


def test_mistakes_are_named():
    for sizes, said in (((3, 1), "allowed m: 4, 5, 6, 7, 8"), ((8, 16), "allowed t: 1, 2"), ((4, 0), "allowed t: 1, 2, 3, 7")):
        with pytest.raises(BittingError, match=said):
            BchCode(*sizes)
    code = BchCode(4, 2)
    with pytest.raises(PufError, match=r"shape \(count, 15\); found \(3, 14\)"):
        bch.syndromes(code, np.zeros((3, 14), int))
    with pytest.raises(PufError, match="from 0 to 2"):
        bch.syndromes(code, np.full((1, 15), 2) * np.arange(15).clip(0, 1))
    with pytest.raises(PufError, match="zeros and ones, integers or booleans; found float64"):
        bch.syndromes(code, np.zeros((0, 15)))
    assert bch.syndromes(code, np.zeros((0, 15), int)).shape == (0, 8)
    with pytest.raises(PufError, match="2 words and 1 syndromes"):
        bch.decode(code, np.zeros((2, 15), int), np.zeros((1, 8), int))
