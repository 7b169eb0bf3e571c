"""The form that an answer shall have: a Python type, its JSON schema for the model, and the check of what came."""

from __future__ import annotations

import re
from typing import Generic, TypeVar

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from tyler.model import OutputSchema

T = TypeVar("T")

TRIES = 3  # answers of one run that may fail to fit before it ends
_MAX_PROBLEMS, _MAX_CHARS = 8, 2_000
_FENCED = re.compile(r"\A\s*```[a-zA-Z]*\n(.*)\n```\s*\Z", re.DOTALL)


class InvalidOutput(ValueError):
    """The answer does not fit the type; the message tells the model what to mend."""


class Output(Generic[T]):
    """A type that answers are read as: a pydantic model, a dataclass or a TypedDict. TypeError for any other."""

    def __init__(self, type_: type[T]) -> None:
        try:
            self._adapter: TypeAdapter[T] = TypeAdapter(type_)
            schema = self._adapter.json_schema()
        except PydanticUserError as error:
            raise TypeError(f"output={type_!r} has no JSON schema: {str(error).splitlines()[0]}") from error
        if reference := schema.get("$ref"):  # of a type that contains itself; providers want the object on top
            schema = {**schema["$defs"][reference.rpartition("/")[2]], "$defs": schema["$defs"]}
        if schema.get("type") != "object":
            raise TypeError(f"output={type_!r} is no object; wrap it: class Answer(BaseModel): value: ...")
        name = re.sub(r"[^a-zA-Z0-9_-]", "_", getattr(type_, "__name__", "answer"))[:64]
        self.schema = OutputSchema(name, schema)

    def read(self, text: str) -> T:
        """The answer as an instance of the type. Raises InvalidOutput."""
        fenced = _FENCED.match(text)
        try:
            return self._adapter.validate_json(fenced[1] if fenced else text)
        except ValidationError as error:
            raise InvalidOutput(_explained(error)) from error


def _explained(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [f"- {'.'.join(map(str, found['loc'])) or 'the answer'}: {found['msg']}" for found in problems]
    shown = "\n".join(lines[:_MAX_PROBLEMS])[:_MAX_CHARS]
    return (
        f"Your answer does not have the form that is needed:\n{shown}\n"
        "Give the whole answer again, as JSON that fits the schema and nothing else."
    )
