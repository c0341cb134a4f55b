"""InputError: what, rule, received, remedy."""

import importlib

import pytest

from ur4rec_recbole.core.errors import InputError, first_line, needs, printable


def test_a_message_says_what_rule_received_and_remedy() -> None:
    error = InputError("top_k", "must be in [1, 4]", 6, "Lower top_k in UR4Rec.yaml.")
    assert str(error) == "top_k must be in [1, 4]. Received 6. Lower top_k in UR4Rec.yaml."
    assert isinstance(error, ValueError)


def test_a_message_steers_no_terminal() -> None:
    assert printable("é\n日") == "é\n日"
    assert str(InputError("a\x1b[2J", "must", "b\ud800\r", "C.")) == (
        "a\\x1b[2J must. Received b\\ud800\\r. C."
    )


def test_a_missing_library_is_a_message_that_says_how_it_is_installed() -> None:
    words = r"nowhere must be installed for x.*ur4rec_recbole\[y\]"
    with pytest.raises(InputError, match=words), needs("nowhere", "for x", "y"):
        importlib.import_module("nowhere")


def test_of_another_librarys_error_the_first_line_is_shown() -> None:
    assert first_line(ValueError("one\ntwo")) == "ValueError: one"
    assert first_line(KeyError()) == "KeyError: "
