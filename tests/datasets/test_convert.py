import csv
import gzip
import html
import json
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recbole.config import Config
from recbole.data import create_dataset

from tests.properties import few
from ur4rec_recbole.commands.main import main
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.data.dataset import UR4RecDataset
from ur4rec_recbole.data.items import load_dataset, read_items
from ur4rec_recbole.datasets.convert import YEAR, amazon, movielens


@pytest.fixture
def ml_1m(tmp_path):
    folder = tmp_path / "ml-1m"
    folder.mkdir()
    ratings = [
        "1::10::5::978300760", "1::20::3::978300700", "1::30::4::978300700",
        "2::10::4::978300000", "2::20::1::978300001", "2::30::2::978300002",
    ]  # fmt: skip
    (folder / "ratings.dat").write_text("\n".join(ratings) + "\n")
    movies = [
        "10::Misérables, Les (1995)::Drama|Musical",
        '20::"Great" Film, The (1998)::Children\'s|Sci-Fi',
        "30::Untitled::Film-Noir",
        "40::Never Rated (1990)::Drama",
    ]
    (folder / "movies.dat").write_bytes(("\n".join(movies) + "\n").encode("latin-1"))
    return folder


def loaded(output):
    name = output.name
    config = str(output / f"{name}.yaml")
    dataset = load_dataset(name, [config], {"data_path": str(output.parent)})
    return dataset, read_items(dataset)


def lines(file):
    return [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]


def test_movielens_1m_becomes_a_data_set_that_recbole_loads(ml_1m, tmp_path):
    output = tmp_path / "out" / "films"
    assert main(["convert", "movielens", str(ml_1m), "--output", str(output)]) == 0
    dataset, items = loaded(output)
    assert isinstance(dataset, UR4RecDataset)
    assert (dataset.user_num, dataset.item_num, dataset.inter_num) == (3, 4, 6)
    assert items["10"].label == "Les Misérables (1995)"
    assert items["20"].label == 'The "Great" Film (1998)'
    assert items["20"].genres == ("Children's", "Sci-Fi")
    assert items["30"].year is None and items["30"].title == "Untitled"


def test_the_command_that_comes_next_can_be_pasted_whatever_the_path(ml_1m, tmp_path, capsys):
    output = tmp_path / "my data" / "films"
    main(["convert", "movielens", str(ml_1m), "--output", str(output)])
    words = shlex.split(capsys.readouterr().out.partition("Next: ")[2])
    assert words[words.index("--config-files") + 1] == str(output / "films.yaml")
    assert words[words.index("--data-path") + 1] == str(output.parent)


def test_interactions_are_sorted_by_user_and_time_and_ties_keep_their_order(ml_1m, tmp_path):
    output = tmp_path / "films"
    main(["convert", "movielens", str(ml_1m), "--output", str(output)])
    rows = lines(output / "films.inter")
    assert rows[0] == ["user_id:token", "item_id:token", "rating:float", "timestamp:float"]
    assert [row[1] for row in rows[1:4]] == ["20", "30", "10"]
    assert rows[1] == ["1", "20", "3.0", "978300700"]


def test_an_item_without_interactions_stays_out_of_the_item_file(ml_1m, tmp_path):
    output = tmp_path / "films"
    main(["convert", "movielens", str(ml_1m), "--output", str(output)])
    assert [row[0] for row in lines(output / "films.item")[1:]] == ["10", "20", "30"]
    texts = json.loads((output / "films.texts.json").read_text(encoding="utf-8"))
    assert set(texts) == {"10", "20", "30"}
    assert texts["10"] == "Les Misérables (1995). Genres: Drama, Musical."


def test_old_files_in_utf_8_are_read_as_such(ml_1m, tmp_path):
    movies = ml_1m / "movies.dat"
    movies.write_text(movies.read_text(encoding="latin-1"), encoding="utf-8")
    main(["convert", "movielens", str(ml_1m), "--output", str(tmp_path / "films")])
    texts = json.loads((tmp_path / "films" / "films.texts.json").read_text(encoding="utf-8"))
    assert texts["10"] == "Les Misérables (1995). Genres: Drama, Musical."


def test_movielens_csv_with_quoted_titles_and_half_stars(tmp_path):
    folder = tmp_path / "ml-latest"
    folder.mkdir()
    (folder / "ratings.csv").write_text(
        "userId,movieId,rating,timestamp\n1,7,4.5,1112486027\n1,8,0.5,1112486028\n"
    )
    (folder / "movies.csv").write_text(
        "movieId,title,genres\n"
        '7,"American President, The (1995)",Comedy|Drama\n8,"Ünder  ""X""",(no genres listed)\n',
        encoding="utf-8",
    )
    output = tmp_path / "latest"
    assert main(["convert", "movielens", str(folder), "--output", str(output)]) == 0
    _, items = loaded(output)
    assert items["7"].label == "The American President (1995)"
    assert items["8"].title == 'Ünder "X"' and items["8"].genres == ()
    assert lines(output / "latest.inter")[2][2] == "0.5"


REVIEWS_2018 = [
    {"reviewerID": "A", "asin": "B001", "overall": 5.0, "unixReviewTime": 1400000002},
    {"reviewerID": "A", "asin": "B002", "overall": 3.0, "unixReviewTime": 1400000001},
]
META_2018 = [
    {
        "asin": "B001", "title": "Soap &amp; Water", "category": ["Beauty", "Bath & Body"],
        "description": ["Clean.\tVery <b>clean</b>.\n", "Twice."], "feature": ["White"],
    },
    {"asin": "B003", "title": "Unseen"},
]  # fmt: skip
REVIEWS_2023 = [
    {"user_id": "A", "asin": "X", "parent_asin": "B001", "rating": 5.0, "timestamp": 1400000002123},
    {"user_id": "A", "asin": "Y", "parent_asin": "B002", "rating": 3.0, "timestamp": 1400000001123},
]
META_2023 = [
    {
        "parent_asin": "B001", "title": "Soap & Water", "categories": ["Beauty", "Bath & Body"],
        "description": ["Clean.\tVery <b>clean</b>.\n", "Twice."], "features": ["White"],
    },
]  # fmt: skip
META_2014 = [
    {
        "asin": "B001", "title": "Soap & Water", "categories": [["Beauty", "Bath & Body"]],
        "description": "Clean.\tVery <b>clean</b>.\n Twice.", "feature": "White",
    },
]  # fmt: skip


@pytest.mark.parametrize(
    ("reviews", "meta", "layout"),
    [
        (REVIEWS_2018, META_2018, json.dumps),
        (REVIEWS_2023, META_2023, json.dumps),
        (REVIEWS_2018, META_2014, repr),
    ],
    ids=["2018", "2023", "2014"],
)
def test_amazon_releases_give_the_same_data_set(tmp_path, reviews, meta, layout):
    with gzip.open(tmp_path / "reviews.json.gz", "wt") as file:
        file.writelines(json.dumps(record) + "\n" for record in reviews)
    with gzip.open(tmp_path / "meta.json.gz", "wt") as file:
        file.writelines(layout(record) + "\n" for record in meta)
    output = tmp_path / "soap"
    words = [
        "--reviews",
        str(tmp_path / "reviews.json.gz"),
        "--meta",
        str(tmp_path / "meta.json.gz"),
    ]
    assert main(["convert", "amazon", *words, "--output", str(output)]) == 0
    dataset, items = loaded(output)
    assert dataset.item_num == 3
    assert items["B001"].title == "Soap & Water"
    assert items["B001"].genres == ("Beauty", "Bath & Body")
    assert [row[1:] for row in lines(output / "soap.inter")[1:]] == [
        ["B002", "3.0", "1400000001"],
        ["B001", "5.0", "1400000002"],
    ]
    texts = json.loads((output / "soap.texts.json").read_text())
    assert texts == {"B001": "Soap & Water White Clean. Very clean . Twice."}


def test_metadata_that_look_like_code_are_not_run(tmp_path, capsys):
    (tmp_path / "reviews.json").write_text(json.dumps(REVIEWS_2018[0]))
    (tmp_path / "meta.json").write_text("{'asin': __import__('os').system('true')}\n")
    words = ["--reviews", str(tmp_path / "reviews.json"), "--meta", str(tmp_path / "meta.json")]
    assert main(["convert", "amazon", *words, "--output", str(tmp_path / "o")]) == 2
    assert "line 1" in capsys.readouterr().err


def test_a_cut_gzip_file_is_refused_and_leaves_no_data_set(tmp_path, capsys):
    data = gzip.compress(b"".join(json.dumps(r).encode() + b"\n" for r in REVIEWS_2018 * 50))
    (tmp_path / "r.json.gz").write_bytes(data[: len(data) // 2])
    words = ["--reviews", str(tmp_path / "r.json.gz"), "--output", str(tmp_path / "o")]
    assert main(["convert", "amazon", *words]) == 2
    assert "Download the file again" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_a_folder_without_ratings_and_a_broken_row_are_refused(ml_1m, tmp_path, capsys):
    output = ["--output", str(tmp_path / "o")]
    assert main(["convert", "movielens", str(tmp_path), *output]) == 2
    assert "no ratings.csv" in capsys.readouterr().err
    with (ml_1m / "ratings.dat").open("a") as file:
        file.write("1::2::3\n")
    assert main(["convert", "movielens", str(ml_1m), *output]) == 2
    assert "line 7" in capsys.readouterr().err


def test_reviews_with_other_columns_are_refused_with_their_line(tmp_path, capsys):
    (tmp_path / "r.json").write_text(json.dumps(REVIEWS_2018[0]) + '\n{"who": 1}\n')
    words = ["--reviews", str(tmp_path / "r.json"), "--output", str(tmp_path / "o")]
    assert main(["convert", "amazon", *words]) == 2
    assert "line 2" in capsys.readouterr().err


TITLE = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["NA", "null", '"Great Performances" Cats', 'Omega"', "a, b", "back\\slash", " both ", "\u2028"]
)


@few
@given(titles=st.lists(TITLE, min_size=1, max_size=5))
def test_titles_come_back_from_recbole_as_they_were(tmp_path, titles):
    folder = tmp_path / "ml"
    folder.mkdir(exist_ok=True)
    with (folder / "movies.csv").open("w", encoding="utf-8", newline="") as file:
        rows = [(number, title, "Drama|NA") for number, title in enumerate(titles)]
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("movieId", "title", "genres"), *rows])
    with (folder / "ratings.csv").open("w") as file:
        ratings = [f"{user},{number},3.5,{1_000_000_000 + number}\n"
                   for user in range(2) for number in range(len(titles))]  # fmt: skip
        file.writelines(["userId,movieId,rating,timestamp\n", *ratings])
    output = tmp_path / "out" / "films"
    assert main(["convert", "movielens", str(folder), "--output", str(output)]) == 0
    columns = {"inter": ["user_id", "item_id", "rating", "timestamp"], "item": "*"}
    settings = {"data_path": str(output.parent), "load_col": columns, "normalize_all": False,
                "state": "ERROR"}  # fmt: skip
    dataset = create_dataset(Config("UR4Rec", "films", config_dict=settings))
    assert dataset.inter_num == 2 * len(titles)
    items = dataset.item_feat.set_index("item_id")
    for number, title in enumerate(titles):
        row = items.loc[dataset.token2id("item_id", str(number))]
        words = dataset.id2token("title", row["title"].astype(int))
        expected = html.unescape(YEAR.sub("", title)).replace("\0", " ").split()
        assert list(words) == expected
        assert list(dataset.id2token("genres", row["genres"])) == ["Drama", "NA"]


@pytest.mark.parametrize(
    "record",
    [
        {"reviewerID": "a\tb"},
        {"reviewerID": ""},
        {"asin": "x\ny"},
        {"asin": "\ud800"},
        {"reviewerID": None},
        {"overall": float("nan")},
        {"unixReviewTime": float("inf")},
        {"asin": ["x"]},
    ],
    ids=str,
)
def test_a_review_that_no_row_can_hold_is_refused(tmp_path, capsys, record):
    (tmp_path / "r.json").write_text(json.dumps(REVIEWS_2018[0] | record))
    words = ["--reviews", str(tmp_path / "r.json"), "--output", str(tmp_path / "o")]
    assert main(["convert", "amazon", *words]) == 2
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("title", [{"en": "A"}, [{"en": "A"}]])
def test_metadata_that_are_no_texts_are_refused(tmp_path, capsys, title):
    (tmp_path / "r.json").write_text(json.dumps(REVIEWS_2018[0]))
    (tmp_path / "m.json").write_text(json.dumps(META_2018[0] | {"title": title}))
    words = ["--reviews", str(tmp_path / "r.json"), "--meta", str(tmp_path / "m.json")]
    assert main(["convert", "amazon", *words, "--output", str(tmp_path / "o")]) == 2
    assert "metadata of line 1 must be texts" in capsys.readouterr().err


def test_a_missing_title_is_no_text(tmp_path):
    (tmp_path / "r.json").write_text(json.dumps(REVIEWS_2018[0]))
    (tmp_path / "m.json").write_text(json.dumps(META_2018[0] | {"title": float("nan")}))
    found = amazon(tmp_path / "r.json", tmp_path / "m.json")
    assert found.items.title.tolist() == [""]
    assert not any("nan" in text for text in found.texts.values())


@pytest.mark.parametrize("row", ["1,Toy", "1,Toy,Comedy,more"])
def test_a_film_with_another_number_of_cells_is_refused(tmp_path, row):
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,4.0,1\n")
    (tmp_path / "movies.csv").write_text(f"movieId,title,genres\n{row}\n")
    with pytest.raises(InputError, match="movies.csv"):
        movielens(tmp_path)


def test_an_output_that_is_a_file_is_refused_before_anything_is_read(tmp_path, capsys):
    (tmp_path / "o").write_text("")
    words = ["--reviews", str(tmp_path / "none"), "--output", str(tmp_path / "o")]
    assert main(["convert", "amazon", *words]) == 2
    assert "--output must be a folder" in capsys.readouterr().err


@pytest.mark.parametrize("categories", ["Beauty", ["Beauty"], [["Beauty"], ["Beauty"]], [None], {}])
def test_categories_of_any_shape_are_read(tmp_path, categories):
    (tmp_path / "r.json").write_text(json.dumps(REVIEWS_2018[0]))
    (tmp_path / "m.json").write_text(json.dumps(META_2018[0] | {"category": categories}))
    words = ["--reviews", str(tmp_path / "r.json"), "--meta", str(tmp_path / "m.json")]
    assert main(["convert", "amazon", *words, "--output", str(tmp_path / "o")]) == 0
