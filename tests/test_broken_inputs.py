"""Broken inputs of every kind: one message and exit code 2, and nothing is left behind.

Each case is a line of the tables below: the words after `ur4rec`, or what is wrong in a file, and a
part of the message that has to name it. All run in a copy of the same small home, which has a data
set, a table and a run that has ended.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.conftest import make_table
from tests.home import TRAIN, at_home, everything, home  # noqa: F401
from ur4rec_recbole.commands.main import main

# What, rule, received, remedy, each of them said.
RULE = "must|needs|is|are|can|takes"
MESSAGE = re.compile(rf"ur4rec[\w -]*: \S.* ({RULE})\b.*\. Received .+\. \S.*\n")


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[[str, str], None]:
    """Return a check: these words are refused by a message that names this, and leave nothing."""

    def check(words: str, names: str, changed: str = "") -> None:
        before = everything(tmp_path)
        capfd.readouterr()
        code = main(words.split(" "))
        said = capfd.readouterr().err
        assert code == 2, said
        assert MESSAGE.fullmatch(said), said
        assert "Traceback" not in said
        assert names in said, said
        assert {name for name, _ in before ^ everything(tmp_path)} <= {changed}

    return check


WORDS = [
    # commands and their words
    ("trian", "trian"),
    ("--verbose", "--verbose"),
    ("train --config-files", "--config-files"),
    (f"{TRAIN} --epochs", "--epochs"),
    (f"{TRAIN} --epochs 3", "--epochs"),
    (f"{TRAIN} epochs=3", "epochs=3"),
    (f"{TRAIN} --=3", "--=3"),
    (f"{TRAIN} --epochs=1 --epochs=2", "--epochs"),
    (f"{TRAIN} -e=1", "-e=1"),
    (f"{TRAIN} --epoch=1", "'epochs'"),
    # sizes that no machine has the memory for
    (f"{TRAIN} --MAX_ITEM_LIST_LENGTH=1000000000000000", "memory"),
    (f"{TRAIN} --hidden_size=1000000000000000", "memory"),
    # names
    ("train", "'model'"),
    ("train --model=UR4Rec", "'dataset'"),
    (f"{TRAIN} --model=UR4rec", "UR4rec"),
    (f"{TRAIN} --model=NoSuchModel", "NoSuchModel"),
    (f"{TRAIN} --model=../UR4Rec", "'model'"),
    (f"{TRAIN} --model=", "'model'"),
    (f"{TRAIN} --dataset=toyy", "toyy"),
    (f"{TRAIN} --dataset=../data/toy", "'dataset'"),
    (f"{TRAIN} --dataset=.", "'dataset'"),
    (f"{TRAIN} --data_path=elsewhere", "toy"),
    ("train --preset smal --dataset toy", "'small'"),
    ("train --preset ../toy --dataset toy", "--preset"),
    ("train --config-files nowhere.yaml", "nowhere.yaml"),
    ("train --config-files data", "data"),
    ("train --config-files text.npz", "text.npz"),
    # values of the command line
    (f"{TRAIN} --epochs=many", "'epochs'"),
    (f"{TRAIN} --epochs=1.5", "'epochs'"),
    (f"{TRAIN} --epochs=-1", "'epochs'"),
    (f"{TRAIN} --epochs=__import__('os').getpid()", "'epochs'"),
    (f"{TRAIN} --learning_rate=inf", "'learning_rate'"),
    (f"{TRAIN} --learning_rate=.nan", "'learning_rate'"),
    (f"{TRAIN} --stages=[pretrain_sasrec", "'stages'"),
    (f"{TRAIN} --stages=[]", "stages"),
    (f"{TRAIN} --user_inter_num_interval=5", "user_inter_num_interval"),
    (f"{TRAIN} --user_inter_num_interval=[50,inf)", "user_inter_num_interval"),
    (f"{TRAIN} --run_folder=run", "--resume run"),
    (f"{TRAIN} --run_folder=toy.yaml", "run_folder"),
    (f"{TRAIN} --run_folder=toy.yaml/run", "run_folder"),
    (f"{TRAIN} --resume run", "--resume"),
    ("train --resume run", "done"),
    ("train --resume nowhere", "nowhere"),
    # doctor
    ("doctor", "'dataset'"),
    ("doctor --config-files toy.yaml --model=Pop", "Pop"),
    ("doctor --config-files toy.yaml --hidden_size=15", "hidden_size"),
    ("doctor --config-files toy.yaml --item_text_table=none.npz", "none.npz"),
    # extract
    ("extract", "part"),
    ("extract audio --dataset toy --output a.npz", "audio"),
    ("extract text --output a.npz", "--dataset"),
    ("extract text --dataset toy --config toy.yaml --output a.txt", "--output"),
    ("extract text --dataset toy --config toy.yaml --output toy.yaml/a.npz", "--output"),
    ("extract text --dataset toy --config toy.yaml --output a.npz --encoder tfidf:0", "tfidf"),
    ("extract text --dataset toy --config toy.yaml --output a.npz --encoder tfidf:wide", "tfidf"),
    ("extract text --dataset toy --config toy.yaml --output a.npz --encoder random:-3", "random"),
    ("extract text --dataset toy --config toy.yaml --output a.npz --encoder tfidf --threads 0",
     "--threads"),
    ("extract text --dataset toy --config toy.yaml --output a.npz --encoder tfidf --batch-size 0",
     "--batch-size"),
    ("extract text --dataset toy --config toy.yaml --output a.npz --encoder tfidf --texts no.json",
     "no.json"),
    ("extract text --dataset toy --config toy.yaml --output a.npz --encoder tfidf --texts text.npz",
     "text.npz"),
    ("extract text --dataset toy --config toy.yaml --output a.npz --encoder tfidf --title-field x",
     "x"),
    ("extract text --dataset toyy --config toy.yaml --output a.npz --encoder tfidf", "toyy"),
    # options that nothing would follow
    ("extract text --dataset toy --config toy.yaml --output a.npz --encoder tfidf --dry-run",
     "--dry-run"),
    ("extract profile --dataset toy --config toy.yaml --output a.npz --encoder tfidf --max-cost 1",
     "--max-cost"),
    ("extract text --dataset toy --config toy.yaml --output a.npz --encoder tfidf --write llm "
     "--texts texts.json", "--texts"),
    ("extract text --dataset toy --config toy.yaml --output a.npz --encoder tfidf+random "
     "--pretrained w.pt", "--pretrained"),
    ("extract image --images images --output a.npz --title-field x", "--title-field"),
    ("extract vectors --vectors text.npz --modality text --encoder e --output a.npz --year-field x",
     "--year-field"),
    ("extract text --dataset toy --config toy.yaml --output a.npz --encoder tfidf "
     "--write llm", "OPENAI_API_KEY"),
    ("extract profile --dataset toy --config toy.yaml --output a.npz "
     "--encoder tfidf --lengths 0", "--lengths"),
    ("extract profile --dataset toy --config toy.yaml --output a.npz "
     "--encoder tfidf --writer llm --model m --dry-run=-1", "--dry-run"),
    ("extract profile --dataset toy --config toy.yaml --output a.npz "
     "--encoder tfidf --writer llm --model m --dry-run --max-cost nan", "--max-cost"),
    ("extract profile --dataset toy --config toy.yaml --output a.npz "
     "--encoder tfidf --writer llm --model m --dry-run --request [1]", "--request"),
    ("extract profile --dataset toy --config toy.yaml --output a.npz "
     "--encoder tfidf --writer llm --model m --dry-run --timeout 0", "--timeout"),
    ("extract profile --dataset toy --config toy.yaml --output a.npz "
     "--encoder tfidf --writer llm --model m --dry-run --request {\"temperature\":NaN}",
     "--request"),
    ("extract image --images data/toy --output a.npz", "--images"),
    ("extract image --images none --output a.npz", "none"),
    ("extract image --images images --output a.npz --workers=-1", "--workers"),
    ("extract image --images images --output a.npz --max-pixels 0", "--max-pixels"),
    ("extract image --images images --output a.npz --device moon", "moon"),
    # convert
    ("convert", "kind"),
    ("convert movielens nowhere --output out", "nowhere"),
    ("convert movielens data --output out", "ratings"),
    ("convert movielens data --output toy.yaml", "--output"),
    ("convert movielens data --output toy.yaml/out", "--output"),
    ("convert amazon --reviews none.json --output out", "none.json"),
    ("convert amazon --reviews text.npz --output out", "text.npz"),
    ("convert amazon --reviews toy.yaml --output out", "toy.yaml"),
    ("convert table --interactions none.csv --output out", "none.csv"),
    ("convert table --interactions text.npz --output out", "text.npz"),
    ("convert table --interactions toy.yaml --output out", "toy.yaml"),
    ("convert table --interactions orders.csv --output /", "--output"),
    ("convert table --interactions orders.csv --output out --user buyer", "--user"),
    ("convert table --interactions orders.csv --output out --k-core 9", "--k-core"),
    ("convert table --interactions orders.csv --output out --time-format mixed", "--time-format"),
    # names that no file can have
    (f"train --config-files {'a' * 300}", "a" * 300),
    (f"{TRAIN} --run_folder={'a' * 300}", "run_folder"),
    (f"{TRAIN} --item_text_table={'a' * 300}.npz", "a" * 300),
    (f"report {'a' * 300}", "a" * 300),
    (f"convert table --interactions {'a' * 300}.csv --output out", "a" * 300),
    ("report \udcff", "UTF-8"),
    # models to serve
    ("recommend nowhere --history i1", "nowhere"),
    ("recommend data --history i1", "data"),
    ("recommend model", "--history"),
    ("recommend model --history i1 --k 0", "k"),
    ("recommend model --history i1 --now noon", "noon"),
    ("recommend model --users toy.yaml --out a.txt", "--out"),
    ("similar model i99", "i99"),
    ("export model --output toy.yaml", "toy.yaml"),
    ("export model --to clay --output out", "clay"),
    # inspect
    ("inspect none.npz --dataset toy --config toy.yaml", "none.npz"),
    ("inspect toy.yaml --dataset toy --config toy.yaml", "toy.yaml"),
    ("inspect data --dataset toy --config toy.yaml", "data"),
    ("inspect text.npz --dataset toy --config toy.yaml --neighbours 0", "--neighbours"),
    ("inspect text.npz --dataset toy --config toy.yaml --items i99", "i99"),
    ("inspect text.npz --dataset toy --config toy.yaml --html data", "--html"),
    ("inspect text.npz --dataset toy --config toy.yaml --json toy.yaml/a.json", "--json"),
    # report, compare, publish
    ("report nowhere", "nowhere"),
    ("report data", "data"),
    ("report run --baseline UR4Rec", "--baseline"),
    ("report . --baseline Pop", "Pop"),
    ("compare run", "RUN"),
    ("compare run nowhere", "nowhere"),
    ("compare run toy.yaml", "toy.yaml"),
    ("publish nowhere out", "nowhere"),
    ("publish data out", "data"),
    # benchmark, ablation, cold-start
    ("benchmark none.yaml", "none.yaml"),
    ("benchmark toy.yaml", "toy.yaml"),
    ("benchmark plan.yaml --jobs 0 --output out", "--jobs"),
    ("benchmark plan.yaml --seeds 0 --output out", "seeds"),
    ("benchmark plan.yaml --seeds many --output out", "--seeds"),
    ("benchmark plan.yaml --models Nobody --output out", "Nobody"),
    ("benchmark plan.yaml --output toy.yaml", "--output"),
    ("benchmark plan.yaml --tune --output out", "tune"),
    ("benchmark plan.yaml --dataset ../toy --output out", "dataset"),
    ("ablation plan.yaml --jobs=-1 --folder out", "--jobs"),
    ("ablation plan.yaml --seeds=-1 --folder out", "seeds"),
    ("ablation none.yaml", "none.yaml"),
    ("cold-start --config-files toy.yaml --dataset toy --share 0", "--share"),
    ("cold-start --config-files toy.yaml --dataset toy --share 1.5", "--share"),
    ("cold-start --config-files toy.yaml --dataset toy --share nan", "--share"),
    ("cold-start --config-files toy.yaml --dataset toy --new-item-share 1", "--new-item-share"),
    ("cold-start --config-files toy.yaml --dataset toy --seeds 0", "--seeds"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "names"), WORDS)
def test_words_that_cannot_be_followed(
    words: str, names: str, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    Path("plan.yaml").write_text(yaml.safe_dump(PLAN))
    Path("orders.csv").write_text("user,item,time\nu1,i1,1\n")
    refused(words, names)


# One line of a configuration file, and the key that the message has to name.
SETTINGS = [
    # files
    ("\tepochs: 1", "x.yaml"),
    ("- epochs", "x.yaml"),
    ("epochs", "x.yaml"),
    ("epochs: [1", "x.yaml"),
    ("epochs: 1\nepochs: 2", "x.yaml"),
    ("1: 2", "x.yaml"),
    ("epochs: !!python/object/apply:os.getpid []", "x.yaml"),
    ("epochs: !!bool perhaps", "x.yaml"),
    ("stages: &a [*a]", "x.yaml"),
    ('run_folder: "a\\0b"', "run_folder"),
    ('run_folder: "\\ud800"', "x.yaml"),
    ("hidden_size: 020", "'hidden_size'"),
    ("seed: 1:30", "'seed'"),
    ("eval_batch_size: " + "9" * 20, "'eval_batch_size'"),
    ("hiden_size: 16", "'hidden_size'"),
    # types and bounds
    ("n_layers: two", "'n_layers'"),
    ("n_layers: 0", "'n_layers'"),
    ("n_layers: true", "'n_layers'"),
    ("n_layers: ~", "'n_layers'"),
    ("hidden_size: 15", "hidden_size"),
    ("hidden_size: [16]", "'hidden_size'"),
    ("epochs: " + "9" * 400, "'epochs'"),
    ("hidden_dropout_prob: 1.5", "'hidden_dropout_prob'"),
    ("hidden_dropout_prob: .nan", "'hidden_dropout_prob'"),
    ("layer_norm_eps: 0", "'layer_norm_eps'"),
    ("learning_rate: .inf", "'learning_rate'"),
    ("learning_rate: 0", "'learning_rate'"),
    ("retriever_learning_rate: -.inf", "'retriever_learning_rate'"),
    ("joint_encoder_rate: 0", "'joint_encoder_rate'"),
    ("joint_encoder_rate: .inf", "'joint_encoder_rate'"),
    ("weight_average: 1", "'weight_average'"),
    ("hidden_act: step", "'hidden_act'"),
    ("norm_first: 1", "'norm_first'"),
    ("exclude_history: 'no way'", "'exclude_history'"),
    ("shuffle_gap: .nan", "shuffle_gap"),
    ("shuffle_gap: soon", "shuffle_gap"),
    ("shuffle_gap: -1", "shuffle_gap"),
    ("order_noise: -1", "'order_noise'"),
    # experts and fusion
    ("n_sub_experts: -1", "'n_sub_experts'"),
    ("router_top_k: 1", "router_top_k"),
    ("router_temperature: 0", "'router_temperature'"),
    ("fusion: sum", "'fusion'"),
    ("fusion_weights: [a, b]", "fusion_weights"),
    ("fusion_weights: [.nan, 0.5]", "fusion_weights"),
    ("fusion_weights: [.inf, 0.5]", "fusion_weights"),
    ("fusion_weights: [1]", "fusion_weights"),
    ("fusion_weights: [true, 1]", "fusion_weights"),
    ("fusion_scale: .inf", "'fusion_scale'"),
    # losses and tasks
    ("sequence_loss: bce", "'sequence_loss'"),
    ("num_negatives: -1", "'num_negatives'"),
    ("negative_distribution: zipf", "'negative_distribution'"),
    ("{sequence_loss: bpr, num_negatives: 0}", "num_negatives"),
    ("logq_correction: True\nretrieval_loss: softmax", "logq_correction"),
    ("genre_weight: 0.1", "genre_field"),
    ("rating_weight: 0.1", "rating"),
    ("train_neg_sample_args: {distribution: uniform, sample_num: 1}", "train_neg_sample_args"),
    # stages
    ("stages: [pretrain]", "'pretrain'"),
    ("stages: [{name: end_to_end, epochs: true}]", "epochs of end_to_end"),
    ("stages: [{name: end_to_end, rates: {encoder: .inf}}]", "rates of end_to_end"),
    ("stages: [{name: end_to_end, rates: {encoder: true}}]", "rates of end_to_end"),
    ("stages: [{name: end_to_end, losses: {fused: .nan}}]", "losses of end_to_end"),
    ("stages: [{name: pretrain_sasrec, rates: {retriever: 0.1}}]", "losses of pretrain_sasrec"),
    ("stages: [{name: pretrain_sasrec, losses: {retrieval: 1}, rates: {fusion: 1}}]",
     "losses of pretrain_sasrec"),
    ("milestones: {toy: [0.5]}", "'milestones'"),
    ("milestones: {toy: {pretrain_sasrec: high}}", "'milestones'"),
    ("milestones: {toy: {pretrain_sasrec: 45}}", "'milestones'"),
    ("milestones: [0.5]", "'milestones'"),
    # tables
    ("item_text_table: none.npz", "none.npz"),
    ("item_text_table: toy.yaml", "toy.yaml"),
    ("item_text_table: 'a{b}.npz'", "a{b}.npz"),
    ("item_text_table: 7", "'item_text_table'"),
    ("item_image_table: text.npz", "item_image_table"),
    ("user_profile_table: text.npz", "user_profile_table"),
    ("feature_scaling: double", "'feature_scaling'"),
    ("pre_model_path: none.pth", "none.pth"),
    ("pre_model_path: text.npz", "text.npz"),
    ("use_item_id: False", "use_item_id"),
    # RecBole's own keys
    ("seed: -1", "'seed'"),
    ("seed: 1.5", "'seed'"),
    ("seed: 4294967296", "'seed'"),
    ("MAX_ITEM_LIST_LENGTH: 0", "'MAX_ITEM_LIST_LENGTH'"),
    ("learner: sdg", "learner"),
    ("clip_grad_norm: 5", "'clip_grad_norm'"),
    ("clip_grad_norm: {norm: 5}", "clip_grad_norm"),
    ("weight_decay: lots", "'weight_decay'"),
    ("eval_step: often", "'eval_step'"),
    ("train_batch_size: 0", "'train_batch_size'"),
    ("checkpoint_dir: 7", "'checkpoint_dir'"),
    ("use_gpu: maybe", "'use_gpu'"),
    ("topk: []", "topk"),
    ("topk: [0]", "topk"),
    ("topk: [5.5]", "topk"),
    ("topk: [10, 100000]", "topk"),
    ("metrics: [Foo]", "metrics"),
    ("metrics: []", "metrics"),
    ("metrics: [Hit, AUC]", "metrics"),
    ("valid_metric: NDCG@7", "valid_metric"),
    ("eval_args: full", "'eval_args'"),
    ("eval_args: {split: {LS: all}}", "eval_args"),
    ("eval_args: {split: {RS: [1, .nan, 1]}}", "eval_args"),
    ("eval_args: {split: {RS: [true, true, true]}}", "eval_args"),
    ("rm_dup_inter: middle", "'rm_dup_inter'"),
    ("filter_inter_by_user_or_item: maybe", "'filter_inter_by_user_or_item'"),
    ("eval_args: {mode: uni0}", "eval_args"),
    ("eval_args: {mode: labeled}", "labeled"),
    ("{model: SASRec, train_neg_sample_args: ~, eval_args: {mode: labeled}}", "labeled"),
    ("evaluated_parts: [train]", "evaluated_parts"),
    ("evaluated_parts: []", "evaluated_parts"),
    ("load_col: {inter: [user_id, item_id]}", "timestamp"),
    ("load_col: {inter: [user_id, item_id, time]}", "time"),
    ("load_col: [user_id]", "'load_col'"),
    ("TIME_FIELD: time", "time"),
    ("USER_ID_FIELD: user", "user"),
    ("field_separator: ''", "field_separator"),
    ("encoding: utf-9", "utf-9"),
    ("item_inter_num_interval: '[many,inf)'", "item_inter_num_interval"),
    ("item_inter_num_interval: [5, 10]", "item_inter_num_interval"),
    ("val_interval: {timestamp: 5}", "val_interval"),
    ("dataset_save_path: none.pth", "none.pth"),
    ("dataloaders_save_path: text.npz", "text.npz"),
    ("lowest_hit: 2", "'lowest_hit'"),
    ("slow_step_factor: 1", "'slow_step_factor'"),
    # other models
    ("model: UR4RecEnsemble", "members"),
    ("{model: UR4RecEnsemble, members: [none.pth]}", "none.pth"),
    ("{model: UR4RecEnsemble, members: [{model: UR4Rec, seeds: 0}]}", "seeds"),
    ("{model: UR4RecEnsemble, members: [3]}", "members"),
    ("{model: ItemTransition, recency_decay: 2}", "'recency_decay'"),
    ("{model: ItemTransition, recency_time: soon}", "recency_time"),
    ("{model: SequentialEASE, ease_regularisation: 0}", "'ease_regularisation'"),
    ("{model: SASRec, train_neg_sample_args: ~, hidden_sise: 16}", "'hidden_size'"),
    ("{model: SASRec, train_neg_sample_args: ~, seed: -1}", "'seed'"),
    ("{model: SASRec, train_neg_sample_args: ~, epochs: ten}", "'epochs'"),
    ("{model: SASRec, train_neg_sample_args: ~, learning_rate: x}", "'learning_rate'"),
    ("{model: SASRec, train_neg_sample_args: ~, train_batch_size: 0}", "'train_batch_size'"),
    ("{model: SASRec, train_neg_sample_args: ~, metrics: [5]}", "Configuration"),
    ("{model: SASRec, train_neg_sample_args: ~, valid_metric: 5}", "Configuration"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "names"), SETTINGS)
def test_settings_that_no_run_can_have(text: str, names: str, refused: Any) -> None:
    Path("x.yaml").write_text(text)
    own = yaml.safe_load(Path("toy.yaml").read_text())
    if "model: " in text:  # of the keys of UR4Rec other models know none
        kept = ("dataset", "data_path", "load_col", "topk", "state", "MAX_ITEM_LIST_LENGTH")
        Path("toy.yaml").write_text(yaml.safe_dump({key: own[key] for key in kept}))
    refused(f"{TRAIN} x.yaml", names)


HEAD = "user_id:token\titem_id:token\ttimestamp:float\n"
DATA = [
    ("", "toy.inter"),
    (HEAD, "toy"),
    ("user_id\titem_id\ttimestamp\nu1\ti1\t1\n", "toy.inter"),
    ("user_id:token,item_id:token,timestamp:float\nu1,i1,1\n", "toy.inter"),
    (HEAD.replace("token", "text") + "u1\ti1\t1\n", "text"),
    (HEAD + "u1\ti1\n" * 5, "toy.inter"),
    (HEAD + "u1\ti1\t1\t4\n" * 5, "toy.inter"),
    (HEAD + "u1\ti1\tnan\n" * 5, "timestamp"),
    (HEAD + "u1\ti1\tinf\n" * 5, "timestamp"),
    (HEAD + "u1\ti1\tsoon\n" * 5, "timestamp"),
    (HEAD + "u1\ti1\t\n" * 5, "timestamp"),
    (HEAD + "\ti1\t1\n" * 5, "user_id"),
    (HEAD + "u1\ti1\t1\nu2\ti2\t2\n", "toy"),
    (HEAD + "u1\ti1\t1\nu1\ti2\t1700000000000\nu1\ti3\t3\nu1\ti4\t4\n", "timestamp"),
    (HEAD * 2 + "u1\ti1\t1\n", "timestamp"),
    (HEAD.replace("item_id", "user_id") + "u1\ti1\t1\n", "toy.inter"),
    (b"\xff\xfe" + HEAD.encode("utf-16-le"), "toy.inter"),
    (HEAD.encode() + "u1\té\t1\n".encode("latin-1"), "toy.inter"),
]


@pytest.mark.parametrize(("content", "names"), DATA)
def test_interactions_that_cannot_be_read(content: str | bytes, names: str, refused: Any) -> None:
    raw = content if isinstance(content, bytes) else content.encode()
    Path("data/toy/toy.inter").write_bytes(raw)
    refused(TRAIN, names)


TEXTS = [
    ("a.json", "{"),
    ("a.json", "[1]"),
    ("a.json", '{"i1": 3}'),
    ("a.json", '{"i1": NaN}'),
    ("a.json", '{"i1": "one", "i1": "two"}'),
    ("a.json", "[" * 100_000),
    ("a.jsonl", '{"item_id": "i1"}\n'),
    ("a.jsonl", '{"item_id": "i1", "text": "one"}\n{\n'),
    ("a.csv", "item_id,text\ni1,one,two\n"),
    ("a.csv", 'item_id,text\ni1,"one\n'),
    ("a.tsv", "x\ty\n1\t2\n"),
    ("a.txt", "i1 one\n"),
]


@pytest.mark.parametrize(("file", "text"), TEXTS)
def test_texts_that_cannot_be_read(file: str, text: str, refused: Any) -> None:
    Path(file).write_text(text)
    extract = "extract text --dataset toy --config toy.yaml --output a.npz --encoder tfidf"
    refused(f"{extract} --texts {file}", file)


REVIEW = {"reviewerID": "u", "asin": "a", "overall": 5.0, "unixReviewTime": 1}
REVIEWS = [
    "", "{", "[]", "{}", "{'a': open('x')}",
    *(json.dumps(REVIEW | wrong) for wrong in (
        {"overall": "good"}, {"overall": None}, {"unixReviewTime": "soon"}, {"asin": None},
    )),
]  # fmt: skip


@pytest.mark.parametrize("text", REVIEWS)
def test_reviews_that_cannot_be_converted(text: str, refused: Any) -> None:
    Path("r.json").write_text(text)
    refused("convert amazon --reviews r.json --output out", "r.json")


def test_a_profile_table_of_other_data(refused: Any) -> None:
    make_table("user_profile", ["u5", "u6"], lengths=[1, 1], source="other").save("profile.npz")
    refused(f"{TRAIN} --user_profile_table=profile.npz", "profile.npz")


def _arrays(**changed: Any) -> Callable[[], None]:
    """Return what writes the table with some of its arrays changed; None leaves one out."""

    def write() -> None:
        with np.load("text.npz") as old:
            arrays = {name: old[name] for name in old.files} | changed
        kept = {name: array for name, array in arrays.items() if array is not None}
        np.savez("text.npz", **kept)

    return write


def _provenance(**changed: Any) -> np.ndarray:
    known = {"kind": "item_text", "encoder": "e", "encoder_version": "1", "source_sha256": "none"}
    return np.array(json.dumps(known | {"split": "none"} | changed))


VECTORS = np.ones((20, 6), np.float32)
TABLES = {
    "empty": lambda: Path("text.npz").write_bytes(b""),
    "cut": lambda: Path("text.npz").write_bytes(Path("text.npz").read_bytes()[:200]),
    "a folder": lambda: (Path("text.npz").unlink(), Path("text.npz").mkdir()),
    "no tokens": _arrays(tokens=None),
    "no vectors": _arrays(vectors=None),
    "no provenance": _arrays(provenance=None),
    "pickled tokens": _arrays(tokens=np.array([{"a": 1}] * 20, dtype=object)),
    "one token twice": _arrays(tokens=np.array(["i1"] * 20)),
    "unknown tokens": _arrays(tokens=np.array([f"x{n}" for n in range(20)])),
    "too few rows": _arrays(vectors=VECTORS[:19]),
    "three dimensions": _arrays(vectors=VECTORS[:, :, None]),
    "no width": _arrays(vectors=VECTORS[:, :0]),
    "whole numbers": _arrays(vectors=VECTORS.astype(int)),
    "complex numbers": _arrays(vectors=VECTORS.astype(complex)),
    "nan": _arrays(vectors=VECTORS * np.nan),
    "beyond float32": _arrays(vectors=VECTORS.astype(float) * 1e300),
    "lengths of an item": _arrays(lengths=np.ones(20, int)),
    "another kind": _arrays(provenance=_provenance(kind="item_image")),
    "unknown kind": _arrays(provenance=_provenance(kind="sound")),
    "no JSON": _arrays(provenance=np.array("{")),
    "a list as provenance": _arrays(provenance=np.array("[1]")),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_that_are_none(name: str, refused: Any) -> None:
    TABLES[name]()
    refused(TRAIN, "item_text" if name == "another kind" else "text.npz")


def _json(file: str, change: Callable[[Any], Any]) -> Callable[[], None]:
    """Return what changes a JSON file of the run."""

    def write() -> None:
        path = Path("run", file)
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return write


def _text(file: str, text: str) -> Callable[[], object]:
    return lambda: Path("run", file).write_text(text)


RUNS = {
    "no run.json": ("run.json", lambda: Path("run/run.json").unlink()),
    "half a run.json": ("run.json", _text("run.json", '{"model": ')),
    "a key twice": ("run.json", _text("run.json", '{"model": "A", "model": "B"}')),
    "half a character": ("run.json", _json("run.json", lambda run: run | {"model": "\ud800"})),
    "run.json a list": ("run.json", _text("run.json", "[]")),
    "run.json too deep": ("run.json", _text("run.json", "[" * 100000)),
    "unknown status": ("status", _json("run.json", lambda run: run | {"status": "lost"})),
    "no status": ("status", _json("run.json", lambda run: run | {"status": None})),
    "config a list": ("config", _json("run.json", lambda run: run | {"config": []})),
    "model a number": ("model", _json("run.json", lambda run: run | {"model": 3})),
    "metrics a list": ("metrics.json", _text("metrics.json", "[1]")),
    "metrics of texts": (
        "metrics.json", _text("metrics.json", '{"test": {"full": {"hit@10": "high"}}}')
    ),
    "metrics beyond a float": (
        "metrics.json", _text("metrics.json", '{"test": {"full": {"hit@10": ' + "9" * 400 + "}}}")
    ),
    "a metric that is true": (
        "metrics.json", _text("metrics.json", '{"test": {"full": {"hit@10": true}}}')
    ),
    "stages a mapping": ("stages.json", _text("stages.json", "{}")),
    "epochs of texts": ("epochs.csv", _text("epochs.csv", "epoch,stage,loss\n1,a,high\n")),
    "findings no JSON": ("findings.jsonl", _text("findings.jsonl", "{\n")),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_run_folders_that_are_damaged(name: str, refused: Any) -> None:
    names, damage = RUNS[name]
    damage()
    refused("report run", names)


@pytest.mark.parametrize("name", list(RUNS)[:10])
def test_damaged_runs_are_not_gone_on_with(name: str, refused: Any) -> None:
    names, damage = RUNS[name]
    damage()
    refused("train --resume run", names)


@pytest.mark.parametrize("content", [b"", b"none", b"\x80\x04K\x01."])
def test_a_run_whose_state_cannot_be_read_is_not_gone_on_with(content: bytes, refused: Any) -> None:
    _json("run.json", lambda run: run | {"status": "interrupted"})()
    Path("run/resume.pth").write_bytes(content)
    refused("train --resume run", "resume.pth", changed="run/run.json")  # which failed, it says


INDEX = {"dataset": "toy", "baseline": None, "entries": {"a": "UR4Rec"}, "runs": {"run": "a"}}
FOLDERS = {
    "benchmark.json": [
        "{", "[]", '{"runs": {}}', json.dumps(INDEX | {"runs": []}),
        json.dumps(INDEX | {"entries": {"a": 1}}), json.dumps(INDEX | {"baseline": []}),
    ],
    "jobs/run.failed.json": ["{", "[]", "{}"],
    "run/metrics.json": ["{", "[]", '{"test": 1}', '{"wall_seconds": "long"}'],
}  # fmt: skip
DAMAGED = [("report .", file, text) for file, texts in FOLDERS.items() for text in texts]
DAMAGED += [("publish . out", file, "{") for file in ("benchmark.json", "run/metrics.json")]


@pytest.mark.parametrize(("command", "file", "text"), DAMAGED)
def test_folders_of_runs_that_are_damaged(command: str, file: str, text: str, refused: Any) -> None:
    Path("benchmark.json").write_text(json.dumps(INDEX))
    Path(file).parent.mkdir(exist_ok=True)
    Path(file).write_text(text)
    refused(command, Path(file).name)


PLAN: dict[str, Any] = {
    "dataset": "toy",
    "entries": [{"name": "a", "model": "UR4Rec", "config_files": ["toy.yaml"]}],
}
ENTRY = PLAN["entries"][0]
PLANS = [
    ({"dataset": None}, "dataset"),
    ({"dataset": 3}, "dataset"),
    ({"dataset": "toyy"}, "toyy"),
    ({"entries": []}, "entries"),
    ({"entries": {"a": 1}}, "entries"),
    ({"entries": ["UR4Rec"]}, "entries"),
    ({"entries": [ENTRY, ENTRY]}, "entries"),
    ({"entries": [{"model": "UR4Rec"}]}, "name"),
    ({"entries": [{"name": "a"}]}, "model"),
    ({"entries": [ENTRY | {"model": "UR4Rek"}]}, "UR4Rek"),
    ({"entries": [ENTRY | {"modle": "UR4Rec"}]}, "modle"),
    ({"entries": [ENTRY | {"config_files": "toy.yaml"}]}, "config_files"),
    ({"entries": [ENTRY | {"config_files": ["no.yaml"]}]}, "no.yaml"),
    ({"entries": [ENTRY | {"settings": {"n_layers": "two"}}]}, "n_layers"),
    ({"entries": [ENTRY | {"settings": {"n_layer": 2}}]}, "n_layer"),
    ({"entries": [ENTRY | {"settings": {"learning_rate": float("inf")}}]}, "learning_rate"),
    ({"entries": [ENTRY | {"settings": [1]}]}, "settings"),
    ({"entries": [ENTRY | {"seeds": [1, 1]}]}, "seeds"),
    ({"entries": [ENTRY | {"start_from": "b"}]}, "start_from"),
    ({"entries": [ENTRY | {"with_images": "maybe"}]}, "with_images"),
    ({"seeds": 0}, "seeds"),
    ({"seeds": [-1]}, "seeds"),
    ({"seeds": 1e9}, "seeds"),
    ({"baseline": "b"}, "baseline"),
    ({"evaluate": ["train"]}, "evaluate"),
    ({"metrics": ["Hit"]}, "metrics"),
    ({"tune": [1]}, "tune"),
]


@pytest.mark.parametrize("command", ["benchmark plan.yaml --output", "ablation plan.yaml --folder"])
@pytest.mark.parametrize(("change", "names"), PLANS)
def test_plans_that_cannot_be_run(
    change: dict[str, Any], names: str, command: str, refused: Any
) -> None:
    Path("plan.yaml").write_text(yaml.safe_dump(PLAN | change))
    refused(f"{command} out", names)
