"""Texts of settings that have a form of their own, with words for whoever writes another."""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


@dataclass(frozen=True, slots=True)
class Spelled:
    """The form of a text: a regular expression for the whole of it, and for people what is wanted instead of another."""

    pattern: str
    wanted: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check the text once it is known to be one."""
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Tell editors the expression."""
        return handler(schema) | {"pattern": f"^{self.pattern}$"}

    def _checked(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise ValueError(f"must be {self.wanted}")
        return text


Sha256 = Annotated[str, Spelled(r"[0-9a-fA-F]{64}", "a SHA-256: 64 hexadecimal digits, as sha256sum prints it")]
"""A setting: a SHA-256 in hexadecimal."""
