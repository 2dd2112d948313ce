"""Settings of a form of their own: what passes, and the words for what does not."""

from typing import Annotated

import pytest
from pydantic import TypeAdapter, ValidationError

from probes.lib.spelled import Sha256, Spelled

WORD = TypeAdapter[str](Annotated[str, Spelled(r"[a-z]+", "a small word, such as tree")])


def test_what_has_the_form_passes_as_it_is() -> None:
    assert WORD.validate_python("tree") == "tree"
    assert TypeAdapter[str](Sha256).validate_python("aB" * 32) == "aB" * 32


@pytest.mark.parametrize("text", ["", "Tree", "two words", "tree\n"], ids=["nothing", "a capital", "a blank", "a line end"])
def test_what_has_not_is_told_what_is_wanted(text: str) -> None:
    with pytest.raises(ValidationError, match="must be a small word, such as tree") as failed:
        WORD.validate_python(text)
    assert [error["type"] for error in failed.value.errors()] == ["value_error"]


def test_what_is_no_text_is_told_apart() -> None:
    with pytest.raises(ValidationError, match="valid string"):
        WORD.validate_python(1)


def test_editors_are_told_the_form() -> None:
    assert WORD.json_schema() == {"type": "string", "pattern": "^[a-z]+$"}
