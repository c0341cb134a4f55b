"""InputError: what, rule, received, remedy."""

from ur4rec_recbole.core.errors import InputError, printable


def test_a_message_says_what_rule_received_and_remedy() -> None:
    error = InputError("top_k", "must be in [1, 4]", 6, "Lower top_k in UR4Rec.yaml.")
    assert str(error) == "top_k must be in [1, 4]. Received 6. Lower top_k in UR4Rec.yaml."
    assert isinstance(error, ValueError)


def test_a_message_steers_no_terminal() -> None:
    assert printable("é\n日") == "é\n日"
    assert str(InputError("a\x1b[2J", "must", "b\ud800\r", "C.")) == (
        "a\\x1b[2J must. Received b\\ud800\\r. C."
    )
