"""InputError: what, rule, received, remedy."""

from ur4rec_recbole.core.errors import InputError


def test_a_message_says_what_rule_received_and_remedy() -> None:
    error = InputError("top_k", "must be in [1, 4]", 6, "Lower top_k in UR4Rec.yaml.")
    assert str(error) == "top_k must be in [1, 4]. Received 6. Lower top_k in UR4Rec.yaml."
    assert isinstance(error, ValueError)
