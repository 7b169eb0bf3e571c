"""What the model is told about a tool: schema from hints, words from the docstring."""

import enum
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from tyler._schema import read_docstring
from tyler.tools import Tool, ToolArgumentsError, ToolContext, as_tool, tool

if TYPE_CHECKING:
    from decimal import Decimal


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    street: str
    title: str = Field(default="home", description="Which address.")


@dataclass
class Point:
    x: int
    y: int = 0


class Options(TypedDict, total=False):
    deep: bool


class Node(BaseModel):
    name: str
    children: "list[Node]" = []


@pytest.fixture
def ctx() -> ToolContext:
    return ToolContext(thread_id="t", owner=None, call_id="c", idempotency_key="k", file_store=None)


def properties(function: Any) -> dict[str, Any]:
    found: dict[str, Any] = as_tool(function).parameters["properties"]
    return found


async def refused(function: Any, arguments: str, ctx: ToolContext) -> str:
    with pytest.raises(ToolArgumentsError) as caught:
        await as_tool(function).call(arguments, ctx)
    return str(caught.value)


def test_the_definition_is_what_the_chat_api_takes() -> None:
    def look_up(order_id: int, notes: str = "") -> str:
        """Find an order.

        Also the archived ones.

        Args:
            order_id: The number on the
                invoice.
            notes: Why.

        Returns:
            The order.
        """
        return f"{order_id}{notes}"

    assert as_tool(look_up).definition() == {
        "type": "function",
        "function": {
            "name": "look_up",
            "description": "Find an order.\n\nAlso the archived ones.",
            "parameters": {
                "type": "object",
                "properties": {
                    "order_id": {"type": "integer", "description": "The number on the invoice."},
                    "notes": {"type": "string", "default": "", "description": "Why."},
                },
                "required": ["order_id"],
                "additionalProperties": False,
            },
        },
    }


def test_a_tool_without_parameters_still_has_an_object_schema() -> None:
    def now() -> str:
        return ""

    assert as_tool(now).parameters == {"type": "object", "properties": {}, "additionalProperties": False}
    assert as_tool(now).description == ""


def test_changing_a_definition_leaves_the_tool_as_it_was() -> None:
    made = as_tool(lambda_like)
    made.definition()["function"]["parameters"]["properties"].clear()
    assert "value" in made.parameters["properties"]


def lambda_like(value: int) -> int:
    return value


@pytest.mark.parametrize(
    "docstring",
    [
        "Find it.\n\nArgs:\n    query: What to find.\n    limit (int): How many.",
        "Find it.\n\nParameters\n----------\nquery : str\n    What to find.\nlimit : int\n    How many.\n\n"
        "Returns\n-------\nstr\n    The text.",
        "Find it.\n\n:param query: What to find.\n:param int limit: How many.\n:returns: The text.",
    ],
    ids=["google", "numpy", "sphinx"],
)
def test_each_docstring_style_describes_the_parameters(docstring: str) -> None:
    assert read_docstring(docstring) == ("Find it.", {"query": "What to find.", "limit": "How many."})


@pytest.mark.parametrize(
    "docstring",
    [
        "Use :class:`Order` here.",
        "Ratio: 3:2 of a\n\n* one\n* two: three",
        "Note\n====\n:x",
        "Args:",
        ":\n:\nArgs:",
        "\n \n",
    ],
)
def test_a_docstring_of_no_style_never_breaks_the_tool(docstring: str) -> None:
    description, parameters = read_docstring(docstring)
    assert parameters == {}
    assert "Args" in docstring or description.split() == docstring.split()


def test_a_description_in_the_hint_wins_over_the_docstring() -> None:
    def find(query: Annotated[str, Field(description="From the hint.", max_length=5)]) -> None:
        """Find.

        Args:
            query: From the docstring.
        """

    assert properties(find) == {
        "query": {"type": "string", "description": "From the hint.", "maxLength": 5},
    }


def test_every_common_kind_of_hint_has_a_schema() -> None:
    def save(  # type: ignore[no-untyped-def]
        *,
        kind: Literal["a", "b"],
        color: Color,
        address: Address,
        point: Point,
        options: Options,
        tags: list[str],
        counts: dict[str, int],
        tree: Node,
        maybe: int | None = None,
        anything=None,
    ) -> None: ...

    schema = as_tool(save).parameters
    assert schema["properties"]["kind"] == {"type": "string", "enum": ["a", "b"]}
    assert schema["properties"]["tags"] == {"type": "array", "items": {"type": "string"}}
    assert schema["properties"]["counts"] == {"type": "object", "additionalProperties": {"type": "integer"}}
    assert schema["properties"]["maybe"] == {
        "anyOf": [{"type": "integer"}, {"type": "null"}],
        "default": None,
    }
    assert schema["properties"]["anything"] == {"default": None}
    assert schema["$defs"]["Color"] == {"type": "string", "enum": ["red", "blue"]}
    assert schema["$defs"]["Address"]["properties"] == {
        "street": {"type": "string"},
        "title": {"type": "string", "default": "home", "description": "Which address."},
    }
    assert set(schema["$defs"]) == {"Color", "Address", "Point", "Options", "Node"}
    assert "maybe" not in schema["required"]
    assert '"title": "' not in json.dumps(schema)


async def test_nested_types_arrive_as_their_own_objects(ctx: ToolContext) -> None:
    got: list[Any] = []

    def save(color: Color, address: Address, point: Point, tree: Node) -> None:
        got.extend([color, address, point, tree])

    arguments = {"color": "red", "address": {"street": "x"}, "point": {"x": "1"}, "tree": {"name": "n"}}
    await as_tool(save).call(json.dumps(arguments), ctx)
    assert got == [Color.RED, Address(street="x"), Point(1), Node(name="n")]


async def test_names_that_pydantic_reserves_work_as_parameters(ctx: ToolContext) -> None:
    def odd(copy: int, _hidden: int, model_config: int, json: int, p0: int) -> list[int]:
        return [copy, _hidden, model_config, json, p0]

    arguments = '{"copy": 1, "_hidden": 2, "model_config": 3, "json": 4, "p0": 5}'
    assert (await as_tool(odd).call(arguments, ctx)).content == "[1,2,3,4,5]"
    assert list(properties(odd)) == ["copy", "_hidden", "model_config", "json", "p0"]


async def test_what_the_model_leaves_out_takes_the_functions_own_default(ctx: ToolContext) -> None:
    missing = object()

    def find(a: Any = missing, b: int = Field(default=7, description="Seven.")) -> list[Any]:
        return [a is missing, b]

    assert (await as_tool(find).call("{}", ctx)).content == "[true,7]"
    assert properties(find)["b"] == {"type": "integer", "default": 7, "description": "Seven."}
    assert properties(find)["a"] == {}


async def test_null_is_taken_where_the_default_is_none(ctx: ToolContext) -> None:
    def find(limit: int = None) -> str:  # type: ignore[assignment]  # noqa: RUF013
        return repr(limit)

    assert (await as_tool(find).call('{"limit": null}', ctx)).content == "None"


async def test_positional_only_parameters_are_filled_by_name(ctx: ToolContext) -> None:
    def minus(a: int, b: int = 1, /, c: int = 0) -> int:
        return a - b - c

    assert (await as_tool(minus).call('{"a": 5, "c": 2}', ctx)).content == "2"


async def test_the_context_is_invisible_to_the_model_and_cannot_be_sent(ctx: ToolContext) -> None:
    def who(context: ToolContext, name: str) -> str:
        return f"{context.call_id} {name}"

    assert list(properties(who)) == ["name"]
    assert (await as_tool(who).call('{"name": "Ann"}', ctx)).content == "c Ann"
    assert "context: unknown" in await refused(who, '{"name": "Ann", "context": {}}', ctx)


async def test_the_context_is_found_in_any_place_and_in_an_optional(ctx: ToolContext) -> None:
    def who(name: str, *, context: ToolContext | None = None) -> str:
        return f"{context and context.call_id} {name}"

    assert list(properties(who)) == ["name"]
    assert (await as_tool(who).call('{"name": "Ann"}', ctx)).content == "c Ann"


def test_two_contexts_are_refused() -> None:
    def who(a: ToolContext, b: ToolContext) -> None: ...

    with pytest.raises(TypeError, match="'who' cannot be a tool: more than one parameter"):
        as_tool(who)


async def test_a_partials_fixed_keywords_are_hidden_from_the_model(ctx: ToolContext) -> None:
    def search(context: ToolContext, query: str, key: str, limit: int = 3) -> str:
        """Search the web.

        Args:
            query: Words.
        """
        return f"{query} {key} {limit} {context.call_id}"

    made = as_tool(functools.partial(search, key="secret"))
    assert "secret" not in json.dumps(made.definition())
    assert made.name == "search"
    assert made.description == "Search the web."
    assert made.parameters["properties"]["query"] == {"type": "string", "description": "Words."}
    assert (await made.call('{"query": "q"}', ctx)).content == "q secret 3 c"
    assert "key: unknown" in await refused(made, '{"query": "q", "key": "mine"}', ctx)


def test_a_partial_of_an_undocumented_function_has_no_description() -> None:
    assert as_tool(functools.partial(lambda_like)).description == ""


@pytest.mark.parametrize("star", ["*args", "**kwargs"])
def test_star_parameters_are_refused_by_name(star: str) -> None:
    namespace: dict[str, Any] = {}
    exec(f"def run({star}): ...", namespace)
    with pytest.raises(TypeError, match=r"'run' cannot be a tool: .* name each one") as caught:
        tool(namespace["run"])
    assert repr(star) in str(caught.value)


def test_an_undecorated_method_is_refused_with_the_way_out() -> None:
    with pytest.raises(TypeError, match="pass the bound one"):

        class Shop:
            @tool
            def sell(self, item: str) -> None: ...


def test_a_type_without_json_form_is_refused_by_name() -> None:
    def run(action: Callable[[], None]) -> None: ...

    class Opaque: ...

    def use(thing: Opaque) -> None: ...

    with pytest.raises(TypeError, match=r"'run' cannot be a tool: a parameter's type does not work in JSON"):
        as_tool(run)
    with pytest.raises(TypeError, match=r"'use' cannot be a tool.*Opaque"):
        as_tool(use)


def test_an_annotation_that_cannot_be_resolved_is_named() -> None:
    def pay(amount: "Decimal") -> None: ...

    with pytest.raises(TypeError, match=r"'pay' cannot be a tool: .*'Decimal' is not defined.*TYPE_CHECKING"):
        as_tool(pay)


def test_annotations_as_strings_are_resolved_in_their_module() -> None:
    def move(to: "Annotated[Address | None, Field(description='Where.')]", kind: "Literal['a']") -> None: ...

    assert properties(move) == {
        "to": {"anyOf": [{"$ref": "#/$defs/Address"}, {"type": "null"}], "description": "Where."},
        "kind": {"type": "string", "const": "a"},
    }


def test_a_return_annotation_need_not_resolve() -> None:
    def pay(amount: "int") -> "Decimal": ...  # type: ignore[empty-body]

    assert properties(pay) == {"amount": {"type": "integer"}}


async def test_numbers_in_strings_are_coerced(ctx: ToolContext) -> None:
    def add(a: int, b: float, c: bool) -> list[Any]:
        return [a, b, c]

    assert (await as_tool(add).call('{"a": "5", "b": "2.5", "c": "true"}', ctx)).content == "[5,2.5,true]"


@pytest.mark.parametrize("arguments", ["", "  \n", "null", "{}", " {} "])
async def test_empty_arguments_mean_none(arguments: str, ctx: ToolContext) -> None:
    assert (await as_tool(lambda_free).call(arguments, ctx)).content == "ran"


def lambda_free() -> str:
    return "ran"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("nope", "Invalid JSON: expected ident at line 1 column 2; send one JSON object"),
        ("[1]", "expected a JSON object with the parameters as keys, got [1]"),
        ('"a"', "expected a JSON object"),
        ("{}", 'value: required, but missing; expected {"type": "integer"}'),
        ('{"value": "many"}', "value: Input should be a valid integer"),
        ('{"value": "many"}', "got 'many'"),
        ('{"value": 1, "size": 2}', "size: unknown; the parameters are: value"),
        ('{"value": NaN}', "value: Input should be"),
        ('{"value": ' + "[" * 9000, "recursion limit exceeded"),
        ('{"value": 1, "\ud800": "\x00"}', "unknown"),
    ],
)
async def test_wrong_arguments_tell_the_model_what_to_mend(arguments: str, words: str, ctx: ToolContext) -> None:
    text = await refused(lambda_like, arguments, ctx)
    assert text.startswith("lambda_like was not run")
    assert words in text
    assert "pydantic" not in text
    assert "http" not in text


async def test_a_mistake_deep_inside_is_named_by_its_path(ctx: ToolContext) -> None:
    def save(trees: list[Node]) -> None: ...

    text = await refused(save, '{"trees": [{"name": "a", "children": [{"name": []}]}]}', ctx)
    assert "trees.0.children.0.name: Input should be a valid string, got []" in text


async def test_the_message_about_huge_wrong_arguments_is_short(ctx: ToolContext) -> None:
    def save(numbers: list[int], text: int) -> None: ...

    arguments = json.dumps({"numbers": ["x" * 1000] * 1000, "text": "y" * 1_000_000, "z" * 100_000: 1})
    text = await refused(save, arguments, ctx)
    assert len(text) <= 2000
    assert "and 994 more" in text


async def test_every_wrong_call_leaves_the_function_unrun(ctx: ToolContext) -> None:
    ran = []

    def record(value: int) -> None:
        ran.append(value)

    for arguments in ("x", "[]", "{}", '{"value": "x"}', '{"value": 1, "more": 1}'):
        await refused(record, arguments, ctx)
    assert ran == []


def test_a_callable_object_takes_name_and_words_from_its_class() -> None:
    class Greeter:
        """Greet someone."""

        def __call__(self, name: str) -> str:
            return f"hi {name}"

    made = as_tool(Greeter())
    assert isinstance(made, Tool)
    assert (made.name, made.description) == ("Greeter", "Greet someone.")
    assert list(made.parameters["properties"]) == ["name"]
