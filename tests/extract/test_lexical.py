import numpy as np
import pytest

from ur4rec_recbole.commands.main import main
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.features import FeatureTable
from ur4rec_recbole.extract import lexical
from ur4rec_recbole.extract.encoders import save_learned, text_encoder
from ur4rec_recbole.extract.joined import JoinedEncoder
from ur4rec_recbole.extract.lexical import TfidfEncoder

TOPICS = ("drill bits", "glue sticks", "tape rolls")
TEXTS = [
    f"{topic} for {use} number {n}" for topic in TOPICS for use in ("wood", "steel") for n in "123"
]


class Fixed:
    """An encoder of given vectors."""

    version = "1"

    def __init__(self, name, vectors):
        self.name, self.vectors = name, np.asarray(vectors, dtype=np.float32)

    def encode(self, texts):
        return self.vectors[: len(texts)]


def cosines(encoder, *texts):
    vectors = encoder.encode(texts)
    return vectors @ vectors.T


def test_texts_of_the_same_words_are_neighbours():
    encoder = TfidfEncoder()
    vectors = encoder.encode(TEXTS)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    likeness = vectors @ vectors.T - 2 * np.eye(len(TEXTS))
    nearest = likeness.argmax(axis=1)
    assert [TEXTS[n].split()[0] for n in nearest] == [text.split()[0] for text in TEXTS]


def test_texts_without_a_common_word_are_orthogonal_while_all_axes_are_kept():
    likeness = cosines(TfidfEncoder(), "red fox", "red dog", "blue whale")
    assert likeness[0, 1] > 0.1 and abs(likeness[0, 2]) < 1e-3


@pytest.mark.parametrize(
    ("one", "other", "stranger"),
    [
        ("oil WD-40", "WD 40", "oil WD-60"),
        ("relay 12V", "12v coil", "relay 24V"),
        ("size M", "M cloth", "size L"),
        ("CAFÉ creme", "cafe\u0301 noir", "cafe creme"),
        ("\uff11\uff12 volts", "12 amps", "13 volts"),
    ],
)  # fmt: skip
def test_model_numbers_single_letters_and_other_scripts_are_words(one, other, stranger):
    encoder = TfidfEncoder()
    encoder.encode([one, other, stranger])
    shared = [set(_terms(encoder, text)) for text in (one, other, stranger)]
    assert shared[0] & shared[1] - shared[2]


def _terms(encoder, text):
    row = lexical._vectorizer(encoder.terms, encoder.idf).transform([text])
    return [encoder.terms[place] for place in row.indices]


def test_the_width_is_at_most_the_rank_of_the_texts():
    assert TfidfEncoder(384).encode(["a b", "a c", "a b", "a c"]).shape == (4, 2)
    assert TfidfEncoder(3).encode(TEXTS).shape == (len(TEXTS), 3)


def test_words_of_one_text_alone_count_in_small_collections_only():
    few, many = TfidfEncoder(), TfidfEncoder()
    few.encode(["common one", "common two"])
    many.encode([f"common word{number}" for number in range(60)] + ["common word1 again"])
    assert "one" in few.terms and "word1" in many.terms and "word2" not in many.terms


def test_the_same_texts_give_the_same_vectors_and_version():
    first, second = TfidfEncoder(5), TfidfEncoder(5)
    assert np.array_equal(first.encode(TEXTS), second.encode(TEXTS))
    assert first.version == second.version
    other = TfidfEncoder(5)
    other.encode([*TEXTS, "something else"])
    assert other.version.split(";")[0] != first.version.split(";")[0]
    assert "scikit-learn" in first.version and "% of the variance" in first.version


def test_a_saved_encoder_encodes_new_texts_as_the_one_that_learned(tmp_path):
    encoder = TfidfEncoder(6)
    vectors = encoder.encode(TEXTS)
    save_learned(encoder, str(tmp_path / "e.npz"))
    loaded = lexical.load(tmp_path / "e.npz")
    assert np.array_equal(loaded.encode(TEXTS), vectors)
    new = ["steel glue", "words never seen"]
    assert np.array_equal(loaded.encode(new), encoder.encode(new))
    assert not loaded.encode(new)[1].any() and loaded.version == encoder.version


def test_a_damaged_or_pickled_encoder_file_is_refused(tmp_path):
    np.savez(tmp_path / "pickled.npz", terms=np.array([{}], dtype=object))
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04")
    encoder = TfidfEncoder()
    encoder.encode(TEXTS)
    np.savez(tmp_path / "odd.npz", **{**encoder.learned(), "idf": np.ones(2)})
    for name in ("pickled", "cut", "odd", "absent"):
        with pytest.raises(InputError, match="encoder file"):
            lexical.load(tmp_path / f"{name}.npz")


def test_texts_that_are_all_alike_have_one_axis():
    encoder = TfidfEncoder()
    assert np.allclose(encoder.encode(["same words"] * 9), 1) and "100.0%" in encoder.version


@pytest.mark.parametrize("texts", [["!!!", "..."], [""]])
def test_texts_without_words_are_refused(texts):
    with pytest.raises(InputError, match="share words"):
        TfidfEncoder().encode(texts)


@pytest.mark.parametrize(
    "name", ["tfidf:0", "tfidf:-3", "tfidf:wide", "random:1.5", "tfidf+tfidf:x"]
)
def test_a_width_that_is_none_is_refused(name):
    with pytest.raises(InputError, match="whole number above 0"):
        text_encoder(name)


def test_joined_blocks_have_the_same_total_variance_and_keep_their_order():
    draws = np.random.default_rng(0)
    wide, narrow = draws.normal(size=(50, 8)) * 7, draws.normal(size=(50, 3)) * 0.1 + 5
    encoder = JoinedEncoder([Fixed("wide", wide), Fixed("narrow", narrow)])
    vectors = encoder.encode(["x"] * 50)
    assert np.allclose(vectors[:, :8].var(axis=0).sum(), 0.5, atol=1e-4)
    assert np.allclose(vectors[:, 8:].var(axis=0).sum(), 0.5, atol=1e-4)
    assert np.allclose(np.corrcoef(vectors[:, 9], narrow[:, 1])[0, 1], 1)
    assert encoder.name == "wide+narrow" and "[wide] 1" in encoder.version


def test_a_joined_encoder_keeps_its_scales_for_further_texts(tmp_path):
    encoder = text_encoder("tfidf:4+random:2")
    vectors = encoder.encode(TEXTS)
    save_learned(encoder, str(tmp_path / "e.npz"))
    loaded = text_encoder("tfidf:4+random:2")
    lexical.restore(loaded, tmp_path / "e.npz")
    assert np.array_equal(loaded.encode(TEXTS[:1])[:, :4], vectors[:1, :4])
    other = text_encoder("tfidf+random+random")
    with pytest.raises(InputError, match="encoder file"):
        lexical.restore(other, tmp_path / "e.npz")


def test_random_vectors_are_the_same_for_the_same_items_whatever_their_texts():
    first = text_encoder("random").encode(["a", "a", "c"])
    assert np.array_equal(first, text_encoder("random").encode(["x", "y", "z"]))
    assert first.shape == (3, 384) and abs(first[0] @ first[1]) < 0.3


def test_the_command_writes_the_table_and_its_encoder_and_tells_the_share(toy, tmp_path, capsys):
    output = str(tmp_path / "t.npz")
    words = ["extract", "text", *toy, "--encoder", "tfidf:5+random:4", "--output", output]
    assert main(words) == 0
    table = FeatureTable.load(output)
    assert table.width == 9 and len(table) == 14 and table.provenance["split"] == "none"
    assert table.provenance["encoder"] == "tfidf+random"
    told = capsys.readouterr().out
    assert "axes hold" in told and str(table.provenance["encoder_version"]) in told
    lexical.load(f"{output}.encoder.npz")
