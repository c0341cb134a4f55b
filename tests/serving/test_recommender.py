"""A recommender gives what the evaluator ranks, to anybody, and can say why."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load, save

import ur4rec_recbole
from tests.conftest import make_table, sequences, write_atomic_files
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import UR4RecDataset
from ur4rec_recbole.evaluation.ranking import rank_targets
from ur4rec_recbole.extract.encoders import save_learned, text_encoder
from ur4rec_recbole.extract.text import extract_text
from ur4rec_recbole.serving.bank import modalities_of
from ur4rec_recbole.serving.folders import sha256
from ur4rec_recbole.serving.histories import UserHistories
from ur4rec_recbole.serving.network import ServedUR4Rec, Settings
from ur4rec_recbole.serving.recommender import Recommender

TIMED = {"time_intervals": True, "request_time": True, "shuffle_gap": 2}
WAYS = [
    {},
    TIMED,
    {"fusion": "gated", "exclude_history": True, "encoder_content": True},
    {"stages": ["pretrain_sasrec"]},
    {"stages": ["pretrain_sasrec"], "popularity_prior": 1.0},
    {"popularity_prior": 0.5},
    {"stages": ["pretrain_sasrec", "pretrain_retriever"], "feature_scaling": "whiten"},
    {"n_sub_experts": 0},
]


# The evaluator draws 99 items that a user has not had.
MANY = {"histories": sequences(n_items=150), "items": [f"i{n}" for n in range(1, 151)]}


def recommender(toy: Any, **options: Any) -> Recommender:
    return Recommender.from_model(toy.model, toy.train, **options)


def top_ten(toy: Any, part: Any) -> dict[str, list[str]]:
    """What the evaluator recommends to each user of a part, history excluded."""
    lists = rank_targets(toy.model, part, "cpu", listed=10)["full_masked"].lists
    users = part.id2token(part.uid_field, part.inter_feat[part.uid_field].numpy())
    return {
        user: [part.id2token(part.iid_field, item) for item in row if item]
        for user, row in zip(users, lists, strict=True)
    }


@pytest.mark.parametrize("settings", WAYS)
def test_a_known_user_gets_the_evaluators_top_ten(full_toy: Any, settings: Any) -> None:
    toy = full_toy(**MANY, **settings)
    expected = top_ten(toy, toy.valid)
    made = recommender(toy)
    rows = toy.rows()
    now = dict(
        zip(
            toy.valid.id2token("user_id", rows["user_id"].numpy()),
            rows["exact_seconds"].tolist(),
            strict=True,
        )
    )
    for user, items in expected.items():
        found = made.recommend_users([user], now=now[user])
        assert found.item.tolist() == items
        ids, times = made.histories.user(toy.train.token2id("user_id", user))
        tokens = toy.train.id2token("item_id", ids).tolist()
        direct = made.recommend(tokens, times.tolist(), now[user], user=user)
        assert direct.items == items


def test_any_model_that_scores_all_items_can_be_served(toy: Any) -> None:
    made = toy(model="ItemTransition", **MANY)
    served = recommender(made)
    for user, items in top_ten(made, made.valid).items():
        every = served.recommend_users([user], k=150)  # items may tie: their scores are the same
        scores = dict(zip(every.item, every.score, strict=True))
        assert [scores[item] for item in items] == every.score.tolist()[:10]
    with pytest.raises(InputError, match="UR4Rec"):
        served.similar_items("i1")


@pytest.mark.parametrize("model", ["SASRec", "CORE", "GRU4Rec"])
def test_recboles_own_models_are_served_with_whole_histories(toy: Any, model: str) -> None:
    made = toy(model=model, train_neg_sample_args=None, **MANY)
    parts = UR4RecDataset(made.config).build()
    served = recommender(made)
    for user, items in top_ten(made, parts[1]).items():
        assert served.recommend_users([user]).item.tolist() == items
    histories = UserHistories.of(parts[0], all_interactions=False)
    assert served.histories.items.tolist() == histories.items.tolist()
    popular = made.train.id2token("item_id", int(parts[0].training_counts.argmax()))
    assert served.recommend([["i1"], []], k=1).item.tolist()[1] == popular
    assert served.recommend_users(["stranger"], k=1).item.tolist() == [popular]
    everything = recommender(made, all_interactions=True)
    assert len(everything.histories.items) == len(parts[0].interactions)


def test_a_run_of_sasrec_is_loaded_to_recommend() -> None:
    write_atomic_files(Path("data"), MANY["histories"])
    settings = {
        "data_path": "data", "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "epochs": 1, "state": "ERROR", "train_neg_sample_args": None, "exclude_history": True,
    }  # fmt: skip
    run = ur4rec_recbole.run("SASRec", "toy", config_dict=settings)
    served = Recommender.load(run.folder)
    assert len(served.recommend(["i1", "i2"], k=3).items) == 3
    assert len(served.histories.items) == sum(map(len, MANY["histories"].values()))
    found = ur4rec_recbole.load(Path(run.folder) / "model.pth")
    again = Recommender.from_model(found.model, found.train)
    assert again.recommend(["i1", "i2"], k=3).items == served.recommend(["i1", "i2"], k=3).items
    with pytest.raises(InputError, match="repeat needs a model that scores what"):
        served.recommend(["i1"], repeat=True)


def test_popularity_of_late_needs_no_history(toy: Any) -> None:
    served = recommender(toy(model="RecentPopularity", request_time=True, **MANY))
    rows = served.recommend_users(["stranger", "u10"], now=100, k=150, repeat=True)
    stranger, known = (rows.score[rows.user == user].tolist() for user in ("stranger", "u10"))
    assert stranger == known


@pytest.mark.parametrize("model", ["BPR", "DIN"])
def test_a_model_that_scores_no_histories_is_not_served(toy: Any, model: str) -> None:
    with pytest.raises(InputError, match=f"sequential model.*{model}"):
        recommender(toy(model=model, **MANY))


def test_many_histories_get_what_each_would_alone(full_toy: Any) -> None:
    made = recommender(full_toy())
    histories = [["i1", "i2", "i3"], [], ["i9"], [f"i{n}" for n in range(1, 9)]]
    table = made.recommend(histories, k=4)
    for place, history in enumerate(histories):
        alone = made.recommend(history, k=4)
        rows = table[table.history == place]
        assert rows.item.tolist() == alone.items
        assert rows.score.to_numpy() == pytest.approx(alone.scores, abs=1e-5)
        assert rows["rank"].tolist() == list(range(1, len(rows) + 1))


def test_what_is_excluded_is_not_recommended(full_toy: Any) -> None:
    made = recommender(full_toy())
    best = made.recommend(["i1", "i2"], k=20).items
    assert not {"i1", "i2"} & set(best)
    assert made.recommend(["i1", "i2"], k=20, exclude=best[:3]).items == best[3:]
    assert made.recommend(["i1", "i2"], include_only=[best[7], best[2], "i1"]).items == [
        best[2],
        best[7],
    ]
    assert {"i1", "i2"} <= set(made.recommend(["i1", "i2"], k=20, repeat=True).items)


def test_unknown_tokens_are_reported_and_skipped(full_toy: Any) -> None:
    made = recommender(full_toy())
    found = made.recommend(["i1", "nonsense", "i2"], times=[1, 2, 3])
    assert found.unknown == ("nonsense",)
    assert found.items == made.recommend(["i1", "i2"], times=[1, 3]).items
    assert made.recommend([["i1"], ["?"]]).attrs["unknown"] == {1: ("?",)}


def test_numbers_stand_for_the_tokens_that_tables_write_them_as(toy: Any) -> None:
    histories = {user[1:]: [item[1:] for item in had] for user, had in sequences().items()}
    text = make_table("item_text", [str(n) for n in range(1, 21)], 6, 1)
    made = recommender(toy(histories, tables={"item_text_table": text}))
    assert made.recommend([3, np.int64(8)], k=20) == made.recommend(["3", "8"], k=20)
    both = made.recommend([[3.0, 8], [5]], k=3)
    pd.testing.assert_frame_equal(both, made.recommend([["3", "8"], ["5"]], k=3))
    asked = {"exclude": [9], "include_only": pd.Series([9, 10, 11])}
    assert set(made.recommend([3], **asked).items) == {"10", "11"}
    since = pd.DataFrame({"user": [9, 99], "item": [1, 2], "time": [90, 91]})
    found = made.recommend_users([9, 99], since)
    assert found.user.tolist()[::10] == [9, 99]
    expected = made.recommend_users(["9", "99"], since)
    pd.testing.assert_frame_equal(found.drop(columns="user"), expected.drop(columns="user"))
    assert made.recommend([3], user=9) == made.recommend(["3"], user="9")
    assert made.similar_items(7) == made.similar_items("7")
    assert made.explain([3, 8], 9) == made.explain(["3", "8"], "9")
    made.add_items([50], {"text": text.vectors[:1]}, titles={50: "Fifty"})
    assert made.recommend([3], include_only=[50]).items == ["50"] and made.titles["50"] == "Fifty"
    more = {51: {"text": text.vectors[1]}}
    assert made.recommend([3], new_items=more, include_only=[51]).items == ["51"]


def test_interactions_at_no_moment_are_refused(full_toy: Any) -> None:
    since = pd.DataFrame({"user": ["u1"], "item": ["i1"], "time": [1.7e308]})
    with pytest.raises(InputError, match="in seconds"):
        recommender(full_toy()).recommend_users(["u1"], since=since)


def test_without_a_history_popular_items_come(full_toy: Any) -> None:
    toy = full_toy()
    made = recommender(toy)
    counts = torch.from_numpy(toy.train.training_counts)
    most = toy.train.id2token("item_id", int(counts.argmax()))
    best = made.recommend([], k=3).scores
    assert best[0] == pytest.approx(float(torch.log1p(counts.float()).max()))
    assert counts[toy.train.token2id("item_id", most)] == counts.max()
    assert made.recommend_users(["stranger"], k=3).score.tolist() == pytest.approx(best)


def test_what_has_happened_since_counts_once(full_toy: Any) -> None:
    toy = full_toy(**MANY)
    made = recommender(toy)
    rows = toy.valid.inter_feat
    since = pd.DataFrame(
        {
            "user": toy.valid.id2token("user_id", rows["user_id"].numpy()),
            "item": toy.valid.id2token("item_id", rows["item_id"].numpy()),
            "time": rows["exact_seconds"].numpy(),
        }
    )
    expected = top_ten(toy, toy.test)
    users = list(expected)
    found = made.recommend_users(users, since=since)
    everything = recommender(toy, all_interactions=True)
    assert {user: found[found.user == user].item.tolist() for user in users} == expected
    last = everything.recommend_users(users, k=5)
    again = everything.recommend_users(users, since=since, k=5)
    assert last.equals(again)


def test_a_new_item_is_scored_as_if_the_table_had_had_it(full_toy: Any) -> None:
    # i16..i20 have no text; the same vectors for a new item as i1 has give i1's content score
    toy = full_toy(use_item_id=False, encoder_content=True)
    made = recommender(toy)
    raw = make_table("item_text", [f"i{n}" for n in range(1, 16)], 6, 1)
    before = made.recommend(["i8", "i9"], k=20, repeat=True)
    made.add_items(["new"], {"text": raw.vectors[:1]})
    found = made.recommend(["i8", "i9"], k=21, repeat=True)
    scores = dict(zip(found.items, found.scores, strict=True))
    assert scores["new"] == pytest.approx(scores["i1"], abs=1e-5)  # i1 has no image
    assert set(before.items) | {"new"} == set(found.items)
    only_now = recommender(toy)
    given = only_now.recommend(
        ["i8", "i9"], k=21, repeat=True, new_items={"new": {"text": raw.vectors[0]}}
    )
    assert given.items == found.items
    assert "new" not in only_now.index.ids
    as_new = made.recommend(["new", "i8"], k=9, exclude=["i1"])
    assert as_new.items == made.recommend(["i1", "i8"], k=9, exclude=["new"]).items


def test_texts_of_new_items_are_encoded_as_the_table_was(full_toy: Any) -> None:
    class Encoder:
        name, version = "random", "1"

        def encode(self, texts: list[str]) -> np.ndarray:
            return np.array([[len(text)] * 6 for text in texts], dtype=np.float32)

    made = recommender(full_toy())
    made.add_items(["a", "b"], texts=["x", "yy"], encoder=Encoder())
    assert made.index.tokens[-2:] == ["a", "b"]
    other = Encoder()
    other.version = "2"
    with pytest.raises(InputError, match="the one that wrote the table"):
        made.add_items(["c"], texts=["x"], encoder=other)


TEXTS = {f"i{n}": f"word{n} of {'red' if n % 2 else 'green'} wool" for n in range(1, 21)}


def learned_toy(toy: Any, name: str = "tfidf:6", **settings: Any) -> Any:
    """A toy with a table of texts, beside which lies what its encoder has learned."""
    encoder = text_encoder(name)
    made = toy(tables={"item_text_table": extract_text(TEXTS, encoder, "a test")}, **settings)
    save_learned(encoder, f"{made.config['item_text_table']}.encoder.npz")
    return made


@pytest.mark.parametrize("name", ["tfidf:6", "random:384+tfidf:6"])
def test_texts_are_encoded_by_what_their_encoder_learned_also_from_a_folder(
    toy: Any, name: str
) -> None:
    pytest.importorskip("sklearn")
    made = learned_toy(toy, name)
    recommender(made).save("model")
    Path(f"{made.config['item_text_table']}.encoder.npz").unlink()
    served = Recommender.load("model")
    served.add_items(["new"], texts=[TEXTS["i1"]])
    found = served.recommend(["i2"], new_items={"newer": TEXTS["i1"]}, k=30)
    assert {"new", "newer"} <= set(found.items)
    vectors = served.index.network.features.vectors("text")[:, -6:]
    assert torch.equal(vectors[-1], vectors[served.index.ids["i1"]])
    served.save("model")  # in its own place
    Recommender.load("model").add_items(["another"], texts=["red wool"])
    with pytest.raises(InputError, match="need what the encoder .*tfidf.* has learned"):
        recommender(made).add_items(["new"], texts=["red wool"])


@pytest.mark.parametrize("name", ["tfidf:6", "random:384+tfidf:6"])
def test_what_was_learned_from_other_texts_is_refused(toy: Any, name: str) -> None:
    pytest.importorskip("sklearn")
    made = learned_toy(toy, name)
    other = text_encoder(name)
    other.encode([*TEXTS.values(), "blue linen"])
    save_learned(other, f"{made.config['item_text_table']}.encoder.npz")
    with pytest.raises(InputError, match="must be the one that wrote the table"):
        recommender(made).add_items(["new"], texts=["red wool"])


def test_a_damaged_file_of_what_was_learned_is_refused(toy: Any) -> None:
    pytest.importorskip("sklearn")
    recommender(learned_toy(toy)).save("model")
    Path("model/text_encoder.npz").write_bytes(b"something else")
    with pytest.raises(InputError, match=r"Model folder.*text_encoder.npz"):
        Recommender.load("model")


class MeanColours:
    """An image encoder whose vector is five numbers of the mean colour."""

    name, version, side = "random", "1", 8

    def preprocess(self, image: Any) -> torch.Tensor:
        return torch.from_numpy(np.array(image.resize((8, 8)))).permute(2, 0, 1).float()

    def encode(self, images: torch.Tensor) -> np.ndarray:
        return images.mean((2, 3)).repeat(1, 2)[:, :5].numpy()


def test_images_of_new_items_are_encoded_as_the_table_was(full_toy: Any, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    made = recommender(full_toy())
    files = [tmp_path / name for name in ("a.png", "b.png")]
    for file, colour in zip(files, ((9, 8, 7), (1, 2, 3)), strict=True):
        image.new("RGB", (8, 8), colour).save(file)
    made.add_items(["a", "b"], images=files, image_encoder=MeanColours())
    by_vectors = recommender(full_toy())
    raw = np.array([[9, 8, 7, 9, 8], [1, 2, 3, 1, 2]], dtype=np.float32)
    by_vectors.add_items(["a", "b"], {"image": raw})
    assert made.recommend(["i1"], k=22) == by_vectors.recommend(["i1"], k=22)
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="b.png: broken"):
        made.add_items(["c", "d"], images=files, image_encoder=MeanColours())


@pytest.mark.parametrize(
    ("tokens", "vectors", "told"),
    [
        (["i1"], {"text": np.zeros((1, 6))}, "not taken"),
        (["n"], {"text": np.zeros((1, 5))}, "6 finite numbers"),
        (["n"], {"text": np.full((1, 6), np.nan)}, "6 finite numbers"),
        (["n"], {"sound": np.zeros((1, 6))}, "vector of one of"),
        (["n", "m"], {"text": np.zeros((1, 6))}, "of 2 items"),
        (["n", "n"], {"text": np.zeros((2, 6))}, "different ids"),
    ],
)
def test_new_items_that_cannot_be_scored_are_refused(
    full_toy: Any, tokens: list[str], vectors: Any, told: str
) -> None:
    made = recommender(full_toy())
    with pytest.raises(InputError, match=told):
        made.add_items(tokens, vectors)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ({"items": "i1"}, "list of ids"),
        ({"items": 5}, "list of ids"),
        ({"items": ["i1", ["i2"]]}, "items must be texts or numbers"),
        ({"items": [["i1"], "i2"]}, "list of ids"),
        ({"items": ["i1"], "exclude": "i2"}, "exclude must be a list"),
        ({"items": ["i1"], "times": [1.7e308]}, "in seconds"),
        ({"items": ["i1"], "times": [1.7e12]}, "Divide milliseconds"),
        ({"items": ["i1"], "now": "1.7e308"}, "in seconds"),
        ({"items": ["i1"], "k": 0}, "k must"),
        ({"items": ["i1"], "times": [1, 2]}, "as many as the items"),
        ({"items": ["i1"], "times": ["noon"]}, "--time-format|a time"),
        ({"items": ["i1"], "user": "nobody"}, "training data"),
        ({"items": ["i1"], "include_only": ["?"]}, "include_only"),
        ({"items": [["i1"], ["i2"]], "times": [[1]]}, "2 lists"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(full_toy: Any, call: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        recommender(full_toy()).recommend(**call)


def test_similar_items_are_those_of_the_nearest_vectors(full_toy: Any) -> None:
    made = recommender(full_toy())
    vectors = made.index.network.vectors.numpy()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    place = made.index.ids["i7"]
    cosine = unit @ unit[place]
    cosine[[0, place]] = -np.inf
    best = np.argsort(-cosine)[:5]
    found = made.similar_items("i7", k=5)
    assert found.items == [made.index.tokens[each] for each in best]
    assert found.scores == pytest.approx(cosine[best].tolist(), abs=1e-5)


@pytest.mark.parametrize("settings", WAYS)
def test_an_explanation_adds_up(full_toy: Any, settings: Any) -> None:
    made = recommender(full_toy(**settings))
    history = ["i5", "i6", "i7"]
    found = made.recommend(history, k=3, repeat=True, times=[1, 5, 9], now=12)
    told = made.explain(history, found.items[1], times=[1, 5, 9], now=12)
    assert told.score == pytest.approx(found.scores[1], abs=1e-4)
    assert sum(told.parts.values()) == pytest.approx(told.score, abs=1e-4)
    assert told.rank == 2
    assert not told.routes or sum(told.routes.values()) == pytest.approx(1, abs=1e-5)
    without = made.recommend(["i5", "i7"], k=20, repeat=True, times=[1, 9], now=12)
    scores = dict(zip(without.items, without.scores, strict=True))
    change = dict(told.history)["i6"]
    assert change == pytest.approx(told.score - scores[told.item], abs=1e-4)


def test_what_has_no_score_is_not_explained_and_popularity_is_told_as_such(full_toy: Any) -> None:
    toy = full_toy(**MANY, exclude_history=True, cooccurrence_window=3)
    toy.model.cooccurrences.choose(0.0, 0.8, 1.0, 0.5)
    made = recommender(toy)
    strange = [made.index.tokens[i] for i in made.index.network.refused_items.nonzero()[1:, 0]]
    for item in (strange[0], "i1"):  # of which nothing is known, or had already
        with pytest.raises(InputError, match=f"explain: item '{item}' must be one that can be"):
            made.explain(["i1", "i2"], item)
        with pytest.raises(InputError, match="must be one that the model knows something of"):
            made.similar_items(strange[0])
    assert not set(strange) & set(made.similar_items("i1", k=150).items)
    told = made.explain(strange[:2], made.recommend(strange[:2], k=3).items[2])
    assert told.parts["popularity"] > 0 and not told.routes
    assert sum(told.parts.values()) == pytest.approx(told.score, abs=1e-5)
    assert told.rank == 1 + sum(
        score > told.score for score in made.recommend(strange[:2], k=150).scores
    )


@pytest.mark.parametrize("settings", WAYS)
def test_a_saved_folder_recommends_the_same_without_its_data(
    full_toy: Any, tmp_path: Path, settings: Any
) -> None:
    toy = full_toy(**settings)
    made = recommender(toy)
    raw = make_table("item_text", ["a", "b"], 6, 4).vectors
    reads = settings.get("stages") != ["pretrain_sasrec"]  # content, which tells of new items
    if reads:
        made.add_items(["added"], {"text": raw[:1]})
    made.save(tmp_path / "model")
    again = Recommender.load(tmp_path / "model")
    users = made.histories.tokens[1:]
    for number in range(2):
        pd.testing.assert_frame_equal(
            made.recommend_users(users, now=99), again.recommend_users(users, now=99), rtol=1e-4
        )
        for each in (made, again):
            if reads:
                each.add_items([f"new{number}"], {"text": raw[1:]})
                continue
            with pytest.raises(InputError, match="new items need a model that scores items by"):
                each.add_items([f"new{number}"], {"text": raw[1:]})


@pytest.mark.parametrize("name", ["recommender.json", "recommender.safetensors", "manifest.json"])
def test_a_damaged_folder_is_refused(full_toy: Any, tmp_path: Path, name: str) -> None:
    recommender(full_toy()).save(tmp_path / "model")
    file = tmp_path / "model" / name
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match="Model folder"):
        Recommender.load(tmp_path / "model")


SIGNED = {
    "nested": lambda about, tensors: about.update(titles={"i1": ["x"]}),
    "titles": lambda about, tensors: about.update(titles={"i1": 7}),
    "items": lambda about, tensors: about.update(items=["x"] * len(about["items"])),
    "users": lambda about, tensors: about["users"].append("more"),
    "heads": lambda about, tensors: about["settings"].update(n_heads=0),
    "score": lambda about, tensors: tensors["weights/score"].fill_(9),
    "nan": lambda about, tensors: tensors["text/vectors"].fill_(float("nan")),
    "counts": lambda about, tensors: tensors.update(counts=tensors["counts"][:-1]),
    "offsets": lambda about, tensors: tensors["histories/offsets"].neg_(),
    "histories": lambda about, tensors: tensors["histories/items"].add_(1000),
}


@pytest.mark.parametrize("name", SIGNED)
def test_a_folder_whose_content_makes_no_sense_is_refused(
    full_toy: Any, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "model"
    recommender(full_toy()).save(folder)
    about = json.loads((folder / "recommender.json").read_text())
    tensors = load((folder / "recommender.safetensors").read_bytes())
    SIGNED[name](about, tensors)
    (folder / "recommender.json").write_text(json.dumps(about))
    (folder / "recommender.safetensors").write_bytes(save(tensors))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"] = {n: sha256((folder / n).read_bytes()) for n in manifest["sha256"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="Model folder|recommender.json|n_heads"):
        Recommender.load(folder)


def test_a_folder_tells_nothing_of_the_machine(full_toy: Any, tmp_path: Path) -> None:
    recommender(full_toy()).save(tmp_path / "model")
    about = json.loads((tmp_path / "model" / "recommender.json").read_text())
    assert str(tmp_path) not in json.dumps(about)


def test_item_vectors_are_computed_once(full_toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = recommender(full_toy())
    network = made.index.network
    assert isinstance(network, ServedUR4Rec)
    monkeypatch.setattr(network.tower, "forward", None)
    monkeypatch.setattr(network.embedding, "forward", None)
    assert made.recommend(["i1"]).items


def test_threads_agree_while_items_are_added(full_toy: Any) -> None:
    made = recommender(full_toy())
    expected = made.recommend(["i1", "i2"], include_only=[f"i{n}" for n in range(1, 21)]).items
    raw = make_table("item_text", ["x"], 6, 9).vectors
    wrong: list[Any] = []

    def ask() -> None:
        for _ in range(15):
            found = made.recommend(["i1", "i2"], include_only=expected).items
            if set(found) != set(expected):
                wrong.append(found)

    def add(name: str) -> None:
        made.add_items([name], {"text": raw})
        time.sleep(0.001)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    threads += [threading.Thread(target=add, args=(f"n{n}",)) for n in range(5)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong
    assert {f"n{n}" for n in range(5)} <= set(made.index.ids)


def test_counts_of_what_goes_together_are_served(full_toy: Any, tmp_path: Path) -> None:
    toy = full_toy(**MANY, cooccurrence_window=3)
    usual = recommender(toy)
    toy.model.cooccurrences.choose(0.0, 0.8, 1.0, 0.5)
    made = recommender(toy)
    asked = {"items": ["i1", "i2"], "k": 150}

    def scores(of: Recommender) -> dict[str, float]:
        told = of.recommend(**asked)
        return dict(zip(told.items, told.scores, strict=True))

    found, before = scores(made), scores(usual)
    logits = torch.full((1, toy.model.n_items), -torch.inf)
    ids = {item: toy.train.token2id("item_id", item) for item in before}
    for item, score in before.items():
        logits[0, ids[item]] = score
    history = torch.tensor([[toy.train.token2id("item_id", item) for item in ("i1", "i2")]])
    expected = toy.model.cooccurrences(logits, history, torch.tensor([2]))[0]
    assert found == pytest.approx({item: float(expected[ids[item]]) for item in found}, abs=1e-4)
    told = made.explain(item=next(iter(found)), items=asked["items"])
    assert sum(told.parts.values()) == pytest.approx(told.score, abs=1e-4)
    assert "cooccurrences" in told.parts
    made.add_items(["added"], {"text": make_table("item_text", ["added"], 6, 4).vectors})
    made.save(tmp_path / "kept")
    again = scores(Recommender.load(tmp_path / "kept"))
    assert again == pytest.approx(scores(made), abs=1e-4)
    assert again.keys() - found.keys() == {"added"}


def test_counts_that_pass_are_served_by_the_time_of_the_request(
    full_toy: Any, tmp_path: Path
) -> None:
    times = {"request_time": True, "trend_half_lives": [], "cooccurrence_half_lives": ["8s"]}
    toy = full_toy(**MANY, cooccurrence_window=3, exclude_history=True, **times)
    usual = recommender(toy)
    toy.model.cooccurrences.choose(8.0, 0.8, 1.0, 0.9)
    recommender(toy).save(tmp_path / "kept")
    made = Recommender.load(tmp_path / "kept")
    ids = toy.train.field2token_id["item_id"]
    history = torch.tensor([[ids["i1"], ids["i2"]]]), torch.tensor([2])
    liked = []
    for now in (5.0, 60.0):
        asked = {"items": ["i1", "i2"], "times": [1.0, 2.0], "k": 150, "now": now}
        logits = torch.full((1, toy.model.n_items), -torch.inf)
        before, found = usual.recommend(**asked), made.recommend(**asked)
        logits[0, [ids[item] for item in before.items]] = torch.tensor(before.scores)
        moment = torch.tensor([now], dtype=torch.float64)
        expected = toy.model.cooccurrences(logits, *history, moment)[0]
        assert found.scores == pytest.approx([float(expected[ids[i]]) for i in found.items])
        liked.append((expected.exp() - logits[0].softmax(0)).argmax())
    assert liked[0] != liked[1]


def test_a_model_of_before_half_lives_is_served(full_toy: Any) -> None:
    toy = full_toy(**MANY, cooccurrence_window=3, time_intervals=True, cooccurrence_half_lives=[])
    toy.model.cooccurrences.choose(0.0, 0.8, 1.0, 0.5)
    network = recommender(toy).index.network
    weights = {name: own for name, own in network.weights.items() if "half_life" not in name}
    config = Settings({k: v for k, v in network.config.items() if "half_lives" not in k})
    again = ServedUR4Rec(config, network.counts, modalities_of(network.features), weights)
    batch = next(iter(toy.loaders[1]))[0]
    torch.testing.assert_close(again.full_sort_predict(batch), network.full_sort_predict(batch))


def test_rare_items_have_their_boost_when_served_and_new_ones_are_rare(
    full_toy: Any, tmp_path: Path
) -> None:
    toy = full_toy(histories=sequences([8] * 15), rare_item_cost=0.1)
    before = recommender(toy)
    toy.model.rare_items.choose(0.5)
    made = recommender(toy)
    for each in (before, made):
        each.add_items(["added"], {"text": make_table("item_text", ["added"], 6, 4).vectors})
    asked = {"items": ["i1", "i2"], "k": 150}

    def scores(of: Recommender) -> dict[str, float]:
        told = of.recommend(**asked)
        return dict(zip(told.items, told.scores, strict=True))

    found, usual = scores(made), scores(before)
    counts = dict(zip(made.index.tokens, made.index.network.counts.tolist(), strict=True))
    boosts = {item: 0.5 * (counts[item] <= 5) for item in found}
    assert boosts["added"] and not all(boosts.values())
    expected = {item: usual[item] + boost for item, boost in boosts.items()}
    assert found == pytest.approx(expected, abs=1e-5)
    told = made.explain(item="added", items=asked["items"])
    assert told.parts["rare_items"] == pytest.approx(0.5, abs=1e-5)
    made.save(tmp_path / "kept")
    assert scores(Recommender.load(tmp_path / "kept")) == pytest.approx(found, abs=1e-5)


def test_new_items_have_a_list_of_their_own(full_toy: Any) -> None:
    toy = full_toy(**MANY)
    made = recommender(toy)
    made.add_items(["added"], {"text": make_table("item_text", ["added"], 6, 4).vectors})
    network = made.index.network
    new = {made.index.tokens[place] for place in (network.counts == 0).nonzero()[1:, 0].tolist()}
    every = made.recommend(["i1", "i2"], k=151).items
    found = made.recommend(["i1", "i2"], k=151, only_new=True)
    assert found.items == [item for item in every if item in new]
    known = next(item for item in every if item not in new)
    both = {"only_new": True, "include_only": ["added", known]}
    assert made.recommend(["i1", "i2"], **both).items == ["added"]
    told = made.recommend_users(["u1"], k=3, only_new=True)
    assert set(told["item"]) <= new


def test_a_list_of_new_items_needs_some(full_toy: Any) -> None:
    with pytest.raises(InputError, match="only_new"):
        recommender(full_toy(histories=sequences([8] * 15))).recommend(["i1"], only_new=True)


def test_only_models_of_ur4rec_know_what_is_new(toy: Any) -> None:
    with pytest.raises(InputError, match="only_new"):
        recommender(toy(model="ItemTransition")).recommend(["i1"], only_new=True)


def test_a_share_of_new_items_is_served(full_toy: Any) -> None:
    toy = full_toy(**MANY, new_item_share=0.5)
    before = recommender(toy).recommend(["i1", "i2"], k=150)
    toy.model.new_items.choose(0.5)
    found = recommender(toy).recommend(["i1", "i2"], k=150)
    new = toy.train.training_counts == 0
    usual = dict(zip(before.items, before.scores, strict=True))
    for item, score in zip(found.items, found.scores, strict=True):
        offset = 0.5 * new[toy.train.token2id("item_id", item)]
        assert score == pytest.approx(usual[item] + offset, abs=1e-5)


def test_what_somebody_has_had_is_recommended_again_if_asked(full_toy: Any) -> None:
    toy = full_toy(**MANY, cooccurrence_window=3, exclude_history=True)
    for share in (0.0, 0.5):
        toy.model.cooccurrences.choose(0.0, 0.8, 1.0, share)
        made = recommender(toy)
        assert not {"i1", "i2"} & set(made.recommend(["i1", "i2"], k=150).items)
        assert {"i1", "i2"} <= set(made.recommend(["i1", "i2"], k=150, repeat=True).items)


def test_what_others_chose_of_late_counts_when_served(full_toy: Any, tmp_path: Path) -> None:
    toy = full_toy(**MANY, request_time=True)
    before = recommender(toy)
    toy.model.trend.choose(20.0, 0.1, 1.0)
    made = recommender(toy)
    end = float(toy.model.trend.end)
    asked = {"items": ["i1", "i2"], "times": [end - 2, end - 1], "now": end}

    def scores(of: Recommender) -> dict[str, float]:
        told = of.recommend(**asked, k=150)
        return dict(zip(told.items, told.scores, strict=True))

    found, usual = scores(made), scores(before)
    nothing = torch.zeros(1, toy.model.n_items)
    added = toy.model.trend(nothing, torch.tensor([end], dtype=torch.float64))[0]
    assert added.abs().max() > 0.1
    for item, score in found.items():
        trend = float(added[toy.train.token2id("item_id", item)])
        assert score == pytest.approx(usual[item] + trend, abs=1e-4)
    told = made.explain(item=next(iter(found)), **asked)
    assert sum(told.parts.values()) == pytest.approx(told.score, abs=1e-4)
    assert told.parts["trend"] == pytest.approx(told.score - usual[told.item], abs=1e-4)
    made.add_items(["added"], {"text": make_table("item_text", ["added"], 6, 4).vectors})
    made.save(tmp_path / "kept")
    again = scores(Recommender.load(tmp_path / "kept"))
    assert again == pytest.approx(scores(made), abs=1e-4)
    assert again.keys() - found.keys() == {"added"}
