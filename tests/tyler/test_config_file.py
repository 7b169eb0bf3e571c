"""Agent.from_config: what a file can say, and that each mistake is named with its file, line and key path."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from textwrap import dedent
from typing import Any

import jsonschema
import pytest

from narrator.errors import ConfigurationError
from tests.model_server import ModelServer
from tyler import Agent, Budget, LitellmModel, Tool, tool
from tyler.config_file import KEYS, json_schema
from tyler.testing import ScriptedModel, calls

_numbers = count()

TOOLS = '''
from tyler import Tool, tool


@tool(risk="read", effect="read")
def look_up(word: str) -> str:
    """Look a word up."""
    return f"{word} is a word"


def plain(x: int) -> int:
    """Count."""
    return x


def folder_tools(root: str, limit: int = 3) -> list[Tool]:
    """Tools for a folder."""
    def list_files() -> str:
        """List the files."""
        return f"{root} {limit}"
    return [tool()(list_files)]


def broken_factory(token: str = "") -> list[Tool]:
    raise OSError("the disk is gone")


def leaves() -> list[Tool]:
    raise SystemExit(3)


async def slow_factory():
    return []


def no_tools():
    return 5


class Box:
    @staticmethod
    def inner(x: int) -> int:
        """Inner."""
        return x


def allow(request):
    return request.arguments["x"] < 5


ALL = (look_up, plain)
NOTHING = []
NUMBER = 5
MIXED = [plain, 5]
'''


@pytest.fixture
def module(tmp_path: Path) -> Iterator[str]:
    """A module of tools beside the file, under a name that no other test has."""
    name = f"config_tools_{os.getpid()}_{next(_numbers)}"
    (tmp_path / f"{name}.py").write_text(TOOLS, encoding="utf-8")
    yield name
    sys.modules.pop(name, None)


Load = Callable[..., Agent]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """The agent of a file with this text."""

    def load(text: str | bytes, name: str = "agent.yaml", **overrides: Any) -> Agent:
        content = text if isinstance(text, bytes) else dedent(text).encode()
        (tmp_path / name).write_bytes(content)
        return Agent.from_config(tmp_path / name, **overrides)

    return load


@pytest.fixture
def refusal(load: Load, tmp_path: Path) -> Callable[..., str]:
    """The error's text, the folder taken off."""

    def refusal(text: str | bytes, name: str = "agent.yaml", **overrides: Any) -> str:
        with pytest.raises(ConfigurationError) as error:
            load(text, name, **overrides)
        return str(error.value).removeprefix(f"{tmp_path}/").replace(str(tmp_path), "FOLDER")

    return refusal


def test_a_whole_file(load: Load, tmp_path: Path, module: str) -> None:
    (tmp_path / "AGENTS.md").write_text("\ufeffBe brief.\n", encoding="utf-8")
    (tmp_path / "skills" / "pdf").mkdir(parents=True)
    (tmp_path / "skills" / "pdf" / "SKILL.md").write_text("---\nname: pdf\ndescription: PDFs\n---\nDo it.\n")
    agent = load(
        f"""
        name: clerk
        model: gpt-4o
        purpose:
          - You are a clerk.
          - You are polite.
        purpose_files: [AGENTS.md]
        skills: [skills/]
        tools:
          - {module}:ALL
          - {module}:Box.inner
          - import: {module}:folder_tools
            with: {{root: /srv}}
        approve: {{inner: ask, "list_*": deny, plain: "{module}:allow"}}
        budget: {{steps: 5, seconds: 1.5, tokens: null}}
        """
    )
    assert (agent.name, agent.model.name) == ("clerk", "gpt-4o")
    assert agent.purpose.startswith("You are a clerk.\n\nYou are polite.\n\nBe brief.\n\nYou have skills:")
    assert agent.purpose.endswith("\n- pdf: PDFs")
    assert list(agent.tools_by_name) == ["look_up", "plain", "inner", "list_files", "read_skill"]
    assert agent.budget == Budget(steps=5, seconds=1.5, tokens=None)


async def test_tools_and_rules_of_a_file_work(load: Load, module: str) -> None:
    script = [calls(("list_files", {}), ("plain", {"x": 3}), ("plain", {"x": 9})), "done"]
    agent = load(
        f"""
        tools:
        - {{import: {module}:folder_tools, with: {{root: /srv, limit: 7}}}}
        - {module}:plain
        approve: {{plain: '{module}:allow'}}
        """,
        model=ScriptedModel(script),
    )
    result = await agent.go("Go")
    texts = [message.text for message in result.new_messages if message.role == "tool"]
    assert texts[:2] == ["/srv 7", "3"]
    assert "9" not in texts[2]


async def test_an_agent_of_a_file_asks_its_model(
    load: Load, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_MODEL_URL", os.environ["OPENAI_BASE_URL"])
    monkeypatch.setenv("MY_KEY", "sk-from-the-environment")
    agent = load(
        """
        model: openai/my-model
        purpose: To help
        api_base: ${MY_MODEL_URL}
        api_key: ${MY_KEY}
        model_params: {temperature: 1e-3, max_tokens: 5, stop: ["$${X}", "u-${MY_KEY}"]}
        """
    )
    async with agent:
        assert (await agent.go("Hello")).content == "echo: Hello"
    request = model_server.requests[0]
    assert request.headers["authorization"] == "Bearer sk-from-the-environment"
    sent = {name: request.body[name] for name in ("temperature", "max_tokens", "stop")}
    assert sent == {"temperature": 0.001, "max_tokens": 5, "stop": ["${X}", "u-sk-from-the-environment"]}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("agent.yml", "model: gpt-4o\nbudget:\n  steps: 3\ntools: []\n"),
        ("agent.YAML", "\ufeff%YAML 1.1\n---\nmodel: 'gpt-4o'\r\nbudget: {steps: 3}\r\n"),
        ("agent.json", '{\n\t"$schema": "agent.schema.json",\n\t"model": "gpt-4o",\n\t"budget": {"steps": 3}\n}'),
        ("agent.toml", 'model = "gpt-4o"\n[budget]\nsteps = 3\n'),
    ],
)
def test_three_formats(load: Load, name: str, text: str) -> None:
    agent = load(text.encode(), name)
    assert (agent.model.name, agent.budget) == ("gpt-4o", Budget(steps=3))


def test_overrides_win(load: Load, module: str) -> None:
    @tool
    def mine() -> str:
        """Mine."""
        return ""

    text = f"name: clerk\nmodel: gpt-4o\npurpose: A\npurpose_files: [missing.md]\ntools: [{module}:plain]\n"
    agent = load(text, purpose="B", tools=[[mine]])
    assert (agent.name, agent.purpose, list(agent.tools_by_name)) == ("clerk", "B", ["mine"])
    assert load("model: gpt-4o\n", model_name="gpt-4.1").model.name == "gpt-4.1"


def test_a_model_in_code_takes_the_place_of_all_that_the_file_says_of_one(load: Load) -> None:
    script = ScriptedModel(["Hello"])
    text = "model: gpt-4o\napi_base: ${NOT_SET}\napi_key: ${NOT_SET}\nmodel_params: {user: '${NOT_SET}'}\n"
    assert load(text, model=script).model is script


def test_an_override_of_none_is_as_not_given(load: Load, module: str) -> None:
    nothing = dict.fromkeys(("model", "model_name", "purpose", "tools", "approve", "budget", "thread_store"))
    text = f"name: n\nmodel: gpt-4o\npurpose: A\ntools: ['{module}:plain']\nbudget: {{steps: 3}}\n"
    agent = load(text, **nothing)
    assert (agent.name, agent.model.name, agent.purpose, agent.budget) == ("n", "gpt-4o", "A", Budget(steps=3))
    assert list(agent.tools_by_name) == ["plain"]


def test_skills_stay_where_purpose_and_tools_are_overridden(load: Load, tmp_path: Path) -> None:
    (tmp_path / "pdf").mkdir()
    (tmp_path / "pdf" / "SKILL.md").write_text("---\nname: pdf\ndescription: PDFs\n---\nDo it.\n")
    agent = load("model: m/m\npurpose: A\nskills: pdf\n", purpose="B", tools=[])
    assert agent.purpose.startswith("B\n\nYou have skills:")
    assert list(agent.tools_by_name) == ["read_skill"]


def test_the_last_line_is_checked_before_a_module_runs(refusal: Callable[..., str], tmp_path: Path) -> None:
    name = f"config_runs_{os.getpid()}_{next(_numbers)}"
    (tmp_path / f"{name}.py").write_text("raise AssertionError('run')\n")
    assert refusal(f"model: m\ntools: ['{name}:f']\nskills: 5\n").startswith("agent.yaml:3: skills: must be text")


def test_a_folder_whose_name_steers_terminals_is_shown_plain(tmp_path: Path) -> None:
    folder = tmp_path / "a\x1b[31m\nb"
    folder.mkdir()
    (folder / "agent.yaml").write_text("modle: x\n")
    with pytest.raises(ConfigurationError) as error:
        Agent.from_config(folder / "agent.yaml")
    assert "a\\x1b[31m\\nb/agent.yaml:1: modle" in str(error.value)


def test_an_unknown_override_is_a_type_error(load: Load) -> None:
    with pytest.raises(TypeError, match="colour"):
        load("model: gpt-4o\n", colour="red")


def test_subclasses_are_made_as_such(tmp_path: Path) -> None:
    class Clerk(Agent):
        """An agent of one's own."""

    (tmp_path / "a.yaml").write_text("model: gpt-4o\n")
    assert type(Clerk.from_config(str(tmp_path / "a.yaml"))) is Clerk


def test_paths_start_from_the_files_folder(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "AGENTS.md").write_text("Be brief.")
    (tmp_path / "deep" / "agent.yaml").write_text("model: gpt-4o\npurpose_files: ../AGENTS.md\n")
    monkeypatch.chdir(tmp_path)
    assert Agent.from_config("deep/agent.yaml").purpose == "Be brief."


def test_the_path_of_python_is_as_before(load: Load, tmp_path: Path, module: str) -> None:
    before = list(sys.path)
    load(f"model: gpt-4o\ntools: ['{module}:plain']\n")
    with pytest.raises(ConfigurationError):
        load(f"model: gpt-4o\ntools: ['{module}_not:plain']\n")
    assert sys.path == before


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nmodel: gpt-4o\n"
NOT_TAKEN = "is not taken; write plain values"
USE_A_VARIABLE = "is a secret in clear; set an environment variable and write ${ITS_NAME} here"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # the file
        ("", "agent.yaml: is empty"),
        ("# nothing\n", "agent.yaml: is empty"),
        ("---\n", "agent.yaml:2: must be a mapping of keys to values, not empty"),
        ("- model: x\n", "agent.yaml:1: must be a mapping of keys to values, not a list"),
        ("just words\n", "agent.yaml:1: must be a mapping of keys to values, not text"),
        ("model: a\n---\nmodel: b\n", "agent.yaml:2: is no YAML: but found another document"),
        ("model: [gpt\n", "agent.yaml:2: is no YAML: expected ',' or ']', but got '<stream end>'"),
        ("model: gpt\n\tname: x\n", "agent.yaml:2: is no YAML: found character '\\t' that cannot start any token"),
        ("model: a: b\n", "agent.yaml:1: is no YAML: mapping values are not allowed here"),
        (b"model: gpt\xff\n", "agent.yaml: is not UTF-8 text (byte 11)"),
        ("model: gpt".encode("utf-16"), "agent.yaml: is not UTF-8 text (byte 1)"),
        (b"model: gpt\x00\n", "agent.yaml: is no text: there is a NUL in it"),
        (b"name: x\nmodel: gpt\x1b[31m\n", "agent.yaml:2: is no YAML: the character '\\x1b' is not allowed"),
        ('model: "gpt\\0"\n', "agent.yaml:1: model: there is a NUL or half a character"),
        ('model: "gpt\\ud800"\n', "agent.yaml:1: model: there is a NUL or half a character"),
        ("model: x\n" + "#" * 140_000, "agent.yaml: has more than 131,072 bytes; make it shorter"),
        # YAML's own traps
        (BOMB, "agent.yaml:2: the alias *a is not taken; write the value out"),
        ("model: &a [*a]\n", "agent.yaml:1: the alias *a is not taken"),
        ("base: &b {x: 1}\n<<: *b\n", "agent.yaml:2: the alias *b is not taken"),
        ("<<: {model: gpt-4o}\n", "agent.yaml:1: a key must be text, not '<<'"),
        ("model: " + "[" * 31 + "]" * 31, "agent.yaml:1: is nested deeper than 30 levels"),
        ("name: !!python/name:os.system\n", f"agent.yaml:1: name: the tag '!!python/name:os.system' {NOT_TAKEN}"),
        (
            "model: !!python/object/apply:os.system ['touch /tmp/x']\n",
            f"agent.yaml:1: model: the tag '!!python/object/apply:os.system' {NOT_TAKEN}",
        ),
        ("model: !mine x\n", f"agent.yaml:1: model: the tag '!mine' {NOT_TAKEN}"),
        ("model: !!binary aGk=\n", f"agent.yaml:1: model: the tag '!!binary' {NOT_TAKEN}"),
        ("model: !!int abc\n", "agent.yaml:1: model: 'abc' cannot be read as int"),
        ("model: !!bool abc\n", "agent.yaml:1: model: 'abc' cannot be read as bool"),
        ("model: !!str [a]\n", f"agent.yaml:1: model: the tag '!!str' {NOT_TAKEN}"),
        ("budget: {steps: " + "9" * 5000 + "}\n", "agent.yaml:1: budget.steps: '999"),
        ("budget: {seconds: 1:30}\n", "agent.yaml:1: budget.seconds: '1:30' is read as a number to base 60"),
        ("budget: {seconds: .inf}\n", "agent.yaml:1: budget.seconds: inf is no number that can be sent"),
        ("model_params: {x: .nan}\n", "agent.yaml:1: model_params.x: nan is no number that can be sent"),
        ("name: 2026-01-01\n", "agent.yaml:1: name: '2026-01-01' is read as a date; quotes make it text"),
        ("name: no\n", "agent.yaml:1: name: must be text, not false (YAML takes yes, no, on and off"),
        ("model: a\nname: x\nmodel: b\n", "agent.yaml:3: model: is there twice, first in line 1"),
        ("budget:\n  steps: 1\n  steps: 2\n", "agent.yaml:3: budget.steps: is there twice, first in line 2"),
        ("? [a, b]\n: x\n", "agent.yaml:1: a key must be text, not a list or mapping"),
        ("1: x\n", "agent.yaml:1: a key must be text, not '1'"),
        # keys
        ("modle: x\n", "agent.yaml:1: modle: unknown key 'modle'; did you mean 'model'? there are name, model, "),
        ('model: x\n"\\e[31m": x\n', "agent.yaml:2: ['\\x1b[31m']: unknown key '\\x1b[31m'; there are name"),
        ("model_name: x\n", "agent.yaml:1: model_name: unknown key 'model_name'; it is called model"),
        ("database: sqlite+aiosqlite:///x\n", "agent.yaml:1: database: unknown key 'database'; open the store"),
        ("budget: {step: 1}\n", "agent.yaml:1: budget.step: unknown key 'step'; did you mean 'steps'? there are steps"),
        ("name: x\n", "agent.yaml:1: model is missing; write one as in model: gpt-4o, or pass model= to from_config"),
        # types
        ("model:\n", "agent.yaml:1: model: must be text, not empty"),
        ("model: ' '\n", "agent.yaml:1: model: is blank; write something, or take the key out"),
        ("model: [gpt]\n", "agent.yaml:1: model: must be text, not a list"),
        ("name: 5\n", "agent.yaml:1: name: must be text, not the number 5"),
        ("purpose:\n- a\n- {b: c}\n", "agent.yaml:3: purpose[1]: must be text, not a mapping"),
        ("purpose_files: [5]\n", "agent.yaml:1: purpose_files[0]: must be text, not the number 5"),
        ("budget: 5\n", "agent.yaml:1: budget: must be a mapping of keys to values, not a number"),
        ("budget: {steps: 1.5}\n", "agent.yaml:1: budget.steps: must be a whole number or null, not the number 1.5"),
        ("budget: {steps: '5'}\n", "agent.yaml:1: budget.steps: must be a whole number or null, not the text '5'"),
        ("budget: {seconds: yes}\n", "agent.yaml:1: budget.seconds: must be a number or null, not true"),
        (
            "budget:\n  steps: 2\n  tokens: -1\nmodel: m\n",
            "agent.yaml:3: budget.tokens: the budget's tokens is -1; it must be",
        ),
        ("model_params: sk-very-secret\n", "agent.yaml:1: model_params: must be a mapping of keys to values, not text"),
        # secrets
        ("api_key: sk-very-secret\n", f"agent.yaml:1: api_key: {USE_A_VARIABLE}"),
        ("api_key: sk-very-secret${HOME}\n", f"agent.yaml:1: api_key: {USE_A_VARIABLE}"),
        (
            "model_params:\n  a:\n    api_key: sk-very-secret\n",
            f"agent.yaml:3: model_params.a.api_key: {USE_A_VARIABLE}",
        ),
        (
            "model_params: {extra_headers: {Authorization: Bearer sk-very-secret}}\n",
            f"agent.yaml:1: model_params.extra_headers.Authorization: {USE_A_VARIABLE}",
        ),
        ("model_params: {api_key: [sk-very-secret]}\n", f"agent.yaml:1: model_params.api_key[0]: {USE_A_VARIABLE}"),
        ("model_params: {api_key: '$${sk-very-secret'}\n", f"agent.yaml:1: model_params.api_key: {USE_A_VARIABLE}"),
        ("api_base: http://me:sk-very-secret@host/v1\n", f"agent.yaml:1: api_base: {USE_A_VARIABLE}"),
        ("api_base: http://me:sk-very-secret@${HOST}/v1\n", f"agent.yaml:1: api_base: {USE_A_VARIABLE}"),
        ("api_base: http://h/v1?api_key=sk-very-secret&x=${HOME}\n", f"agent.yaml:1: api_base: {USE_A_VARIABLE}"),
        ("api_base: localhost\n", "agent.yaml:1: api_base: is no address; write one as in http://127.0.0.1:8000/v1"),
        ("api_key: ${NOT_SET}\n", "agent.yaml:1: api_key: the environment variable NOT_SET is not set, or empty"),
        (
            "model_params:\n  a: [1, 'x${NOT_SET}']\n",
            "agent.yaml:2: model_params.a[1]: the environment variable NOT_SET is not set, or empty",
        ),
        ("api_base: http://${}\n", "agent.yaml:1: api_base: a ${ must go on as NAME}, as in ${OPENAI_API_KEY}"),
        ("api_base: http://${A:-b}\n", "agent.yaml:1: api_base: a ${ must go on as NAME}"),
        ("model: ${HOME\n", "agent.yaml:1: model: a ${ must go on as NAME}"),
        # files
        (
            "purpose_files: [no.md]\nmodel: m\n",
            "agent.yaml:1: purpose_files[0]: 'no.md' cannot be read: No such file or directory",
        ),
        ("purpose_files:\n- ''\n", "agent.yaml:2: purpose_files[0]: is blank"),
        ("purpose_files: .\nmodel: m\n", "agent.yaml:1: purpose_files: '.' is no regular file"),
        ("purpose_files: /dev/zero\nmodel: m\n", "agent.yaml:1: purpose_files: '/dev/zero' is no regular file"),
        (
            "skills: [gone]\nmodel: m\n",
            "agent.yaml:1: skills[0]: the folder of skills 'FOLDER/gone' cannot be read: No such file",
        ),
        ("skills: [.]\nmodel: m\n", "agent.yaml:1: skills[0]: 'FOLDER' holds no skill: no folder in it has a SKILL.md"),
    ],
)
def test_mistakes_are_named_with_line_and_key(
    refusal: Callable[..., str], text: str | bytes, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    found = refusal(text if isinstance(text, bytes) else text.encode())
    assert found.startswith(said)
    assert "very-secret" not in found
    assert found.isprintable()


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("5", "must be an import path, as in lye:WEB_TOOLS, or {import: ..., with: {...}}, not the number 5"),
        ("MODULE", "'MODULE' is no import path; write package.module:name, as in lye:WEB_TOOLS"),
        ("MODULE.plain", "'MODULE.plain' is no import path; write MODULE:plain"),
        ("./MODULE.py:plain", "'./MODULE.py:plain' is no import path; write package.module:name"),
        ("'..:x'", "'..:x' is no import path"),
        ("'MODULE:'", "'MODULE:' is no import path"),
        ("nobody_has_this.x:y", "nobody_has_this.x:y: there is no module 'nobody_has_this', installed or in 'FOLDER'"),
        ("MODULE.x:y", "MODULE.x:y: there is no module 'MODULE.x', installed or in 'FOLDER'"),
        ("MODULE:plane", "MODULE:plane: MODULE has no 'plane'; did you mean 'plain'?"),
        ("MODULE:NUMBER", "MODULE:NUMBER is an int; it must be a function, a Tool, or a list of them"),
        ("MODULE:MIXED", "MODULE:MIXED is a list; it must be a function, a Tool, or a list of them"),
        ("MODULE:Box", "MODULE:Box: <class 'MODULE.Box'> cannot be a tool"),
        ("MODULE:folder_tools", "MODULE:folder_tools makes tools and is none; call it: {import: MODULE:folder_tools"),
        ("{import: 'MODULE:folder_tools'}", "MODULE:folder_tools makes tools and is none; call it"),
        ("{with: {}}", "import is missing: the import path of the function that makes the tools"),
        ("{}", "import is missing"),
        ("{import: 'MODULE:NUMBER', with: {}}", "MODULE:NUMBER is an int and cannot be called; take `with` out"),
        ("{import: 'MODULE:folder_tools', with: {}}", "MODULE:folder_tools cannot be called so: missing a required"),
        (
            "{import: 'MODULE:folder_tools', with: {root: a, limits: 3}}",
            "MODULE:folder_tools cannot be called so: got an unexpected keyword argument 'limits'; it is MODULE:fol"
            "der_tools(root: str, limit: int = 3)",
        ),
        ("{import: 'MODULE:broken_factory', with: {}}", "MODULE:broken_factory failed: OSError: the disk is gone"),
        ("{import: 'MODULE:leaves', with: {}}", "MODULE:leaves failed: SystemExit: 3"),
        ("{import: 'MODULE:slow_factory', with: {}}", "MODULE:slow_factory is async; await it in your program"),
        ("{import: 'MODULE:no_tools', with: {}}", "what MODULE:no_tools returned is an int; it must be a function"),
        ("'MODULE:ALL'", "two tools are named 'plain'"),
    ],
)
def test_tools_that_cannot_be_had_are_named(refusal: Callable[..., str], module: str, entry: str, said: str) -> None:
    text = f"model: gpt-4o\ntools:\n- MODULE:plain\n- {entry}\n".replace("MODULE", module)
    assert refusal(text).replace(module, "MODULE").startswith(f"agent.yaml:4: tools[1]: {said}")


@pytest.mark.parametrize(
    ("entry", "path", "said"),
    [
        (
            "{imports: 'a:b'}",
            "tools[0].imports",
            "unknown key 'imports'; did you mean 'import'? there are import, with",
        ),
        ("{import: 'a:b', with: [1]}", "tools[0].with", "must be a mapping of keys to values, not a list"),
        ("{import: 'a', with: {}}", "tools[0].import", "'a' is no import path"),
        ("{import: 'a:b', with: {token: sk-very-secret}}", "tools[0].with.token", USE_A_VARIABLE),
    ],
)
def test_entries_of_tools_are_checked(refusal: Callable[..., str], entry: str, path: str, said: str) -> None:
    assert refusal(f"model: gpt-4o\ntools:\n- {entry}\n").startswith(f"agent.yaml:3: {path}: {said}")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def f(:\n", "cannot be imported: File "),
        ("raise ValueError('no\\x1b[31m\\nway')\n", "cannot be imported: ValueError: no"),
        ("import nobody_has_this\n", "cannot be imported: ModuleNotFoundError: No module named 'nobody_has_this'"),
        ("from . import x\n", "cannot be imported: ImportError: attempted relative import"),
        ("raise SystemExit('bye')\n", "cannot be imported: SystemExit: bye"),
    ],
)
def test_a_module_that_fails_is_quoted(refusal: Callable[..., str], tmp_path: Path, code: str, said: str) -> None:
    name = f"config_broken_{os.getpid()}_{next(_numbers)}"
    (tmp_path / f"{name}.py").write_text(code)
    found = refusal(f"tools: ['{name}:f']\nmodel: gpt-4o\n")
    assert found.startswith(f"agent.yaml:1: tools[0]: {name}:f: {name} {said}")
    assert name not in sys.modules
    assert found.isprintable()


def test_another_folders_module_of_the_same_name_is_not_taken(load: Load, tmp_path: Path, module: str) -> None:
    load(f"model: gpt-4o\ntools: ['{module}:plain']\n")
    other = tmp_path / "other"
    other.mkdir()
    (other / f"{module}.py").write_text("def plain() -> str:\n    return 'another'\n")
    (other / "agent.yaml").write_text(f"model: gpt-4o\ntools: ['{module}:plain']\n")
    with pytest.raises(ConfigurationError, match="rename one of the two"):
        Agent.from_config(other / "agent.yaml")


def test_a_file_beside_the_configuration_hides_no_installed_module(refusal: Callable[..., str], tmp_path: Path) -> None:
    """Of a module that nobody has imported yet, too."""
    for name in ("json", "wave"):
        (tmp_path / f"{name}.py").write_text("raise AssertionError('run')\n")
        said = refusal(f"model: gpt-4o\ntools: ['{name}:open']\n")
        assert f"is not what Python has under the name '{name}'" in said


def test_a_module_that_was_written_a_moment_ago_is_found(load: Load, tmp_path: Path) -> None:
    name = f"config_late_{os.getpid()}_{next(_numbers)}"
    (tmp_path / "agent.yaml").touch()
    text = f"model: m/m\ntools: ['{name}:f']\n"
    with pytest.raises(ConfigurationError, match="there is no module"):
        load(text)
    before = tmp_path.stat()
    (tmp_path / f"{name}.py").write_text("def f() -> str:\n    return ''\n")
    os.utime(tmp_path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as on a file system with coarse times
    assert list(load(text).tools_by_name) == ["f"]
    del sys.modules[name]


@pytest.mark.parametrize(
    ("name", "text"), [("a.yaml", "api_key: 'sk-very-secret\n"), ("b.yaml", "k: sk-very-secret: x")]
)
def test_a_traceback_quotes_no_line_of_the_file(load: Load, name: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no YAML") as error:
        load(text, name)
    assert "very-secret" not in "".join(traceback.format_exception(error.value))


def test_numbers_with_an_exponent_are_numbers(load: Load) -> None:
    assert load("model: m/m\nbudget: {seconds: 1e3}\n").budget == Budget(seconds=1000.0)


def test_a_file_that_loads_another_in_its_tools(load: Load, tmp_path: Path, module: str) -> None:
    (tmp_path / "inner.yaml").write_text(f"model: gpt-4o\ntools: ['{module}:plain']\n")
    outer = f"{module}_outer"
    code = "from pathlib import Path\nfrom tyler import Agent\n"
    code += "inner = Agent.from_config(Path(__file__).with_name('inner.yaml'))\n"
    (tmp_path / f"{outer}.py").write_text(code + "tools = list(inner.tools_by_name.values())\n")
    before = list(sys.path)
    assert list(load(f"model: gpt-4o\ntools: ['{outer}:tools']\n").tools_by_name) == ["plain"]
    assert sys.path == before
    del sys.modules[outer]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("yes", "approve: must be auto, ask, deny, an import path, or a mapping of tool names to these, not true"),
        ("always", "approve: must be auto, ask, deny, or the import path of a function, not the text 'always'"),
        ("{plain: 5}", "approve.plain: must be auto, ask, deny, or the import path of a function, not the number 5"),
        ("{plane: ask}", "approve.plane: approve['plane'] fits no tool of the agent; its tools are plain"),
        ("{'no_*': ask}", "approve['no_*']: approve['no_*'] fits no tool of the agent"),
        ("{plain: 'MODULE:nothing'}", "approve.plain: MODULE:nothing: MODULE has no 'nothing'"),
        ("'MODULE:NUMBER'", "approve: approve is 5; use 'auto', 'ask', 'deny' or a function"),
    ],
)
def test_rules_of_approval_are_checked(refusal: Callable[..., str], module: str, rule: str, said: str) -> None:
    text = f"model: gpt-4o\napprove: {rule}\ntools: ['MODULE:plain']\n".replace("MODULE", module)
    assert refusal(text).replace(module, "MODULE").startswith(f"agent.yaml:2: {said}")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("agent.json", "", "agent.json:1: is empty"),
        ("agent.json", '{"model": "x",\n}', "agent.json:2: is no JSON: "),
        ("agent.json", '{"model": "a", "model": "b"}', "agent.json: the key 'model' is there twice"),
        ("agent.json", '{"budget": {"steps": NaN}}', "agent.json: NaN is no number"),
        ("agent.json", '{"budget": {"steps": 1e999}}', "agent.json: budget.steps: inf is no number that can be sent"),
        ("agent.json", '{"budget": {"steps": ' + "9" * 5000 + "}}", "agent.json: is no JSON: Exceeds the limit"),
        ("agent.json", "[" * 60_000, "agent.json: is nested deeper than 30 levels"),
        ("agent.json", "[" * 40 + "]" * 40, "agent.json: [0][0]"),
        ("agent.json", '{"model": "\\ud800"}', "agent.json: model: there is a NUL or half a character"),
        ("agent.json", '{"tools": [1]}', "agent.json: tools[0]: must be an import path"),
        ("agent.toml", "model = ", "agent.toml: is no TOML: Invalid value (at end of document)"),
        ("agent.toml", "", "agent.toml: model is missing"),
        ("agent.toml", "name = 1979-05-27", "agent.toml: name: '1979-05-27' is read as a date"),
        ("agent.toml", "model = 'a'\nmodel = 'b'", "agent.toml: is no TOML: Cannot overwrite a value"),
        ("agent.toml", "x = " + "[" * 5_000, "agent.toml: is nested deeper than 30 levels"),
        ("agent.ini", "model = x", "agent.ini: the suffix is '.ini'; name the file .yaml, .yml, .json or .toml"),
        ("agent", "model: x", "agent: the suffix is ''; name the file"),
    ],
)
def test_mistakes_in_json_and_toml(refusal: Callable[..., str], name: str, text: str, said: str) -> None:
    assert refusal(text.encode(), name).startswith(said)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path), lambda path: None])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "agent.yaml")
    with pytest.raises(ConfigurationError, match=r"agent.yaml: (is no regular file|cannot be read)"):
        Agent.from_config(tmp_path / "agent.yaml")


@pytest.mark.parametrize("path", ["\0.yaml", "x" * 5000 + ".yaml", ""])
def test_paths_that_cannot_be_are_refused(path: str) -> None:
    with pytest.raises(ConfigurationError):
        Agent.from_config(path)


@pytest.mark.parametrize(
    "text", ["{" * 100_000, "? " * 60_000, "- " * 60_000, "a: [" * 30_000, "x: 1\n" * 20_000, "&a " * 40_000]
)
def test_hostile_yaml_is_refused_in_time(refusal: Callable[..., str], text: str) -> None:
    started = time.process_time()
    refusal(text.encode())
    assert time.process_time() - started < 5


def test_the_environment_is_read_anew_each_time(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gpt-4o", "gpt-4.1"):
        monkeypatch.setenv("MY_MODEL", name)
        model = load("model: ${MY_MODEL}\n").model
        assert isinstance(model, LitellmModel)
        assert model.name == name


def test_the_schema_says_what_the_reader_says(load: Load, module: str) -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert set(schema["properties"]) == set(KEYS)
    check = jsonschema.Draft202012Validator(schema).is_valid
    good = {
        "model": "x",
        "purpose": ["a"],
        "api_key": "${X}",
        "tools": ["a.b:c", {"import": "a:b", "with": {"x": 1}}],
        "approve": {"a": "ask", "b": "x:y"},
        "budget": {"steps": 1, "seconds": 1.5, "tokens": None},
    }
    assert check(good)
    for key, bad in {
        "modle": "x",
        "model": 5,
        "api_key": "sk-1",
        "purpose": [5],
        "tools": ["a.b"],
        "approve": "sometimes",
        "budget": {"steps": 1.5},
    }.items():
        assert not check({**good, key: bad}), key
    json.dumps(schema)
    schema["properties"].clear()
    assert json_schema()["properties"]


def test_tools_are_tools(load: Load, module: str) -> None:
    tools = load(f"model: gpt-4o\ntools: ['{module}:look_up', 'lye:WEB_TOOLS']\n").tools_by_name
    assert all(isinstance(found, Tool) for found in tools.values())
    assert tools["look_up"].risk == "read"
    assert {"fetch_page", "download_file"} < set(tools)
