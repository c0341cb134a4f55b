"""Time intervals of the history: what the encoder reads of them, and what it must not."""

from typing import Any

import pytest
import torch

from tests.conftest import Toy
from tests.model.test_ur4rec import position_scores, trained
from ur4rec_recbole.core.errors import InputError
from ur4rec_recbole.model.attention import BlockConfig
from ur4rec_recbole.model.encoder import SequenceEncoder
from ur4rec_recbole.model.positions import Positions
from ur4rec_recbole.model.time_intervals import N_BINS, TimeIntervals


@pytest.fixture
def timed(toy: Any) -> Toy:
    return toy(time_intervals=True, n_layers=2)


def test_bins_double_in_width_and_the_last_one_takes_the_rest() -> None:
    made = TimeIntervals(1, 1, 1)
    with torch.no_grad():
        made.vectors.weight.copy_(torch.arange(N_BINS).unsqueeze(1))
    gaps = torch.tensor([0.0, 1, 2, 3, 6, 7, 2.0**70], dtype=torch.float64)
    times = torch.stack([torch.zeros_like(gaps), gaps], dim=1)
    found, _ = made(times, Positions(torch.ones_like(times, dtype=torch.bool)))
    assert found[1::2, 0].tolist() == [0, 1, 1, 2, 2, 3, N_BINS - 1]
    assert not found[::2].any()  # nothing comes before the first item
    far = torch.tensor([[-1.7e308, 1.7e308]], dtype=torch.float64)  # infinitely far apart
    found, _ = made(far, Positions(torch.ones_like(far, dtype=torch.bool)))
    assert found[:, 0].tolist() == [0, N_BINS - 1]


def test_a_bias_belongs_to_the_interval_of_query_and_key() -> None:
    made = TimeIntervals(1, 2, 3)
    times = torch.tensor([[0.0, 6.0, 40.0]], dtype=torch.float64)
    _, biases = made(times, Positions(torch.ones(1, 3, dtype=torch.bool)))
    assert len(biases) == 2
    for layer, (bias,) in zip(made.biases, biases, strict=True):
        assert bias.shape == (1, 3, 3, 3)
        for query in range(3):
            for key in range(query + 1):
                passed = times[0, query] - times[0, key] + 1
                expected = layer.weight[int(torch.log2(passed))]
                torch.testing.assert_close(bias[0, :, query, key], expected)


def test_groups_of_rows_are_encoded_as_all_rows_together() -> None:
    torch.manual_seed(0)
    encoder = SequenceEncoder(2, 9, BlockConfig(8, 2, 16, 0.0, 0.0), True, True)
    mask = torch.arange(9) < torch.tensor([9, 8, 3, 2, 1]).unsqueeze(1)
    times = torch.rand(5, 9, dtype=torch.float64).cumsum(1) * 1e4
    items = torch.randn(int(mask.sum()), 8)

    def states_and_gradients(sizes: list[int]) -> list[torch.Tensor]:
        encoder.zero_grad()
        states = encoder(items, Positions(mask, sizes), times, times + 60)
        states.square().sum().backward()
        return [states, *(each.grad for each in encoder.parameters())]

    torch.testing.assert_close(states_and_gradients([2, 1, 2]), states_and_gradients([]))


def test_training_and_evaluation_attend_alike(timed: Toy) -> None:
    rows = timed.rows(timed.train)
    expected = position_scores(timed.model.eval(), rows, "sequence")
    for block in timed.model.encoder.blocks:
        block.attention.dropout.p = 1e-9  # takes the path with dropout, and drops nothing
    timed.model.encoder.train()
    found = position_scores(timed.model, rows, "sequence")
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_state_depends_on_times_up_to_its_position_alone(timed: Toy) -> None:
    rows = timed.rows(timed.train)
    chosen, _ = trained(timed.model, rows)
    place = chosen.place
    times = rows["exact_seconds_list"]
    before = position_scores(timed.model, rows, "sequence")
    for later in range(1, times.shape[1]):
        changed = times.clone()
        changed[:, later:] -= times[:, later : later + 1] - times[:, later - 1 : later]  # no gap
        rows.interaction["exact_seconds_list"] = changed
        after = position_scores(timed.model, rows, "sequence")
        same = torch.isclose(before, after, atol=1e-6).all(1)
        assert same[place < later].all()
        assert not same[place == later].all()


def test_the_interval_of_items_that_are_not_neighbours_matters(timed: Toy) -> None:
    with torch.no_grad():
        timed.model.encoder.intervals.vectors.weight.zero_()
    rows = timed.rows(timed.train)
    before = position_scores(timed.model, rows, "sequence")
    rows.interaction["exact_seconds_list"] = rows["exact_seconds_list"] * 0.01
    assert not torch.allclose(position_scores(timed.model, rows, "sequence"), before, atol=1e-4)


def test_a_shift_of_all_times_changes_nothing(timed: Toy) -> None:
    rows = timed.rows(timed.train)
    before = position_scores(timed.model, rows, "sequence")
    rows.interaction["exact_seconds_list"] = rows["exact_seconds_list"] + 1e9
    torch.testing.assert_close(position_scores(timed.model, rows, "sequence"), before)


def test_the_target_s_time_is_not_read(timed: Toy) -> None:
    rows = timed.rows()
    before = timed.model.full_sort_predict(rows)
    rows.interaction["exact_seconds"] = rows["exact_seconds"] * 0 + 0.7
    torch.testing.assert_close(timed.model.full_sort_predict(rows), before, rtol=0, atol=0)


def test_vectors_and_biases_train_with_the_encoder(toy: Any) -> None:
    made = toy(time_intervals=True, stages=["pretrain_sasrec"])
    made.model.enter(made.model.stage)
    sum(made.model.calculate_loss(made.rows(made.train))).backward()
    for parameter in made.model.encoder.intervals.parameters():
        assert parameter.grad.abs().sum() > 0


def test_with_request_time_a_state_reads_the_time_of_its_own_target_and_of_no_later_one(
    toy: Any,
) -> None:
    made = toy(request_time=True, n_layers=2)
    rows = made.rows(made.train)
    chosen, _ = trained(made.model, rows)
    row, place = chosen.row, chosen.place
    before = position_scores(made.model, rows, "sequence")
    length = rows["item_length"]
    rows.interaction["exact_seconds"] = rows["exact_seconds"] + 1e6
    after = position_scores(made.model, rows, "sequence")
    last = place == length[row] - 1
    same = torch.isclose(before, after, atol=1e-6).all(1)
    assert same[~last].all()
    assert not same[last].any()


def test_a_request_at_another_time_gets_other_scores(toy: Any) -> None:
    made = toy(request_time=True)
    rows = made.rows()
    before = made.model.full_sort_predict(rows)
    rows.interaction["exact_seconds"] = rows["exact_seconds"] + 1e6  # now, as a shop would say
    assert not torch.allclose(made.model.full_sort_predict(rows), before)


@pytest.mark.parametrize("key", ["time_intervals", "request_time"])
def test_positions_are_not_taken_for_times(toy: Any, tmp_path: Any, key: str) -> None:
    folder = tmp_path / "counted" / "toy"
    folder.mkdir(parents=True)
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    lines += [f"u{u}\ti{(u * 5 + n) % 20}\t{n + 1}" for u in range(6) for n in range(6)]
    (folder / "toy.inter").write_text("\n".join(lines) + "\n")
    made = toy(data_path=str(tmp_path / "counted"), **{key: True})
    with pytest.raises(InputError, match="go up by one"):
        made.new_model()
