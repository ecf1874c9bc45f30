"""The order in which the passphrase is looked for, and what is refused."""

from pathlib import Path

import pytest

from orchestrator.errors import OperatorError
from orchestrator.trust.passphrase import FILE_VARIABLE, VARIABLE, Prompt, find_passphrase


def answers(*given: str) -> Prompt:
    left = list(given)
    return lambda question: left.pop(0)


def test_the_variable_wins_over_the_file_and_the_file_over_the_prompt(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("from the file\n")
    both = {VARIABLE: "from the variable", FILE_VARIABLE: str(path)}
    assert find_passphrase(both, answers(), new=False) == "from the variable"
    assert find_passphrase({FILE_VARIABLE: str(path)}, answers(), new=False) == "from the file"
    assert find_passphrase({}, answers("typed"), new=False) == "typed"


def test_only_the_line_end_of_a_file_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b" with spaces \r\n")
    assert find_passphrase({FILE_VARIABLE: str(path)}, None, new=False) == " with spaces "


def test_a_new_one_is_asked_for_twice() -> None:
    assert find_passphrase({}, answers("long enough", "long enough"), new=True) == "long enough"
    with pytest.raises(OperatorError, match="differ"):
        find_passphrase({}, answers("long enough", "long enougj"), new=True)


def test_a_new_one_that_is_short_is_refused_and_an_old_one_is_not() -> None:
    with pytest.raises(OperatorError, match="8 characters"):
        find_passphrase({VARIABLE: "short"}, None, new=True)
    assert find_passphrase({VARIABLE: "short"}, None, new=False) == "short"


def test_nobody_to_ask_says_which_variables_to_set() -> None:
    with pytest.raises(OperatorError, match=VARIABLE):
        find_passphrase({}, None, new=False)


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_a_file_that_holds_no_passphrase_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OperatorError, match=str(path)):
        find_passphrase({FILE_VARIABLE: str(path)}, None, new=False)
