"""The examples run as programs of their own, print what they promise, and leave it in the database.

The model is the strict local server, found by the environment as a provider would be.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.model_server import ModelServer
from tests.warm_python import WarmPython
from tyler import FileStore, Thread, ThreadStore

ROOT = Path(__file__).parents[1]
EXAMPLES = {path.stem for path in (ROOT / "examples").glob("*.py")} | {
    path.parent.name for path in (ROOT / "examples").glob("*/run.py")
}
TESTED = {
    "remember_across_threads",
    "tool_context",
    "tracing",
    "mcp_time",
    "from_config",
    "context",
    "approvals",
    "attachments",
    "context_injection",
    "fallback",
    "guard",
    "delegation",
    "quickstart",
    "replay",
    "sessions",
    "shell_agent",
    "structured_output",
    "summarizing",
    "support_bot",
    "tools",
    "topic_threads",
}
ELSEWHERE = {"demo", "three_disasters"}  # test_demo.py and faults/test_three_disasters.py
NO_MODEL = {"OPENAI_API_KEY": "", "OLLAMA_HOST": "127.0.0.1:9"}  # nobody listens on the discard port


Example = Callable[..., str]


@pytest.fixture
def example(warm_python: WarmPython) -> Example:
    """Run an example; what it prints."""

    def run(name: str, *arguments: str, exit_code: int = 0, **variables: str) -> str:
        """Silent on stderr unless it is to fail: then that is returned."""
        argv = [str(ROOT / "examples" / f"{name}.py"), *arguments]
        env = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
        code, out, err = warm_python.run(argv, env)
        assert code == exit_code, err
        assert exit_code or err == ""
        return err if exit_code else out

    return run


def stored(url: str | Path, owner: str | None = None) -> dict[str, Thread]:
    """All threads of the database, by id."""

    async def read() -> dict[str, Thread]:
        async with await ThreadStore.create(f"sqlite+aiosqlite:///{url}" if isinstance(url, Path) else url) as whole:
            store = whole.for_owner(owner) if owner else whole
            return {s.id: await store.get_thread(s.id) for s in await store.list_threads()}

    return asyncio.run(read())


def texts(thread: Thread) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in thread.messages]


def shown(server: ModelServer, index: int) -> list[tuple[str, Any]]:
    """What the model was shown in a request, behind the purpose."""
    assert not server.refused, [recorded.violations for recorded in server.refused]
    messages = server.requests[index].messages
    assert messages[0]["role"] == "system"
    return [(message["role"], message.get("content")) for message in messages[1:]]


def test_every_example_is_tested() -> None:
    assert EXAMPLES - ELSEWHERE == TESTED


def test_quickstart_remembers_from_run_to_run(example: Example, model_server: ModelServer, tmp_path: Path) -> None:
    first = example("quickstart", str(tmp_path))
    assert first.startswith(f"Model: gpt-4.1: OPENAI_API_KEY is set\nData: {tmp_path}\n")
    assert "Nice to meet you!\nYou: Hello, my name is Ann.\nAssistant: echo: Hello, my name is Ann.\n" in first
    model_server.reply("Your name is Ann.")
    second = example("quickstart", DEMO_FOLDER=str(tmp_path))
    assert "Welcome back! We have exchanged 2 messages so far." in second
    history = [("user", "Hello, my name is Ann."), ("assistant", "echo: Hello, my name is Ann.")]
    assert shown(model_server, 1) == [*history, ("user", "What is my name?")]
    thread = stored(tmp_path / "quickstart.db")["quickstart"]
    assert texts(thread) == [*history, ("user", "What is my name?"), ("assistant", "Your name is Ann.")]


def test_quickstart_runs_on_the_local_model(example: Example, tmp_path: Path) -> None:
    printed = example("quickstart", str(tmp_path), **NO_MODEL)
    assert printed.startswith("Model: SmolLM2-135M-Instruct")
    (thread,) = stored(tmp_path / "quickstart.db").values()
    assert [message.role for message in thread.messages] == ["user", "assistant"]
    assert thread.messages[1].text
    assert thread.messages[1].text in printed


def test_sessions_are_resumed_and_kept_apart(example: Example, model_server: ModelServer, tmp_path: Path) -> None:
    first = example("sessions", str(tmp_path))
    assert "session-ann: new\nsession-bob: new\n" in first
    assert "session-ann: Which animal do I like?\n  -> echo: Which animal do I like?\n" in first
    second = example("sessions", str(tmp_path))
    assert "session-ann: resumed, 4 messages\nsession-bob: resumed, 2 messages\n" in second
    threads = stored(tmp_path / "sessions.db")
    assert {id: len(thread.messages) for id, thread in threads.items()} == {"session-ann": 8, "session-bob": 4}
    assert not any("dogs" in str(content) for _, content in shown(model_server, 5))


def test_topic_threads_open_once_and_are_found(example: Example, model_server: ModelServer, tmp_path: Path) -> None:
    example("topic_threads", str(tmp_path))
    second = example("topic_threads", str(tmp_path))
    assert second.endswith(
        "Research threads, newest first:\n"
        "  research-volcanoes: 5 messages on Volcanoes\n"
        "  research-tides: 5 messages on Tides\n"
    )
    context = ("system", "This thread is for researching: Tides")
    assert shown(model_server, 0)[0] == context
    roles = [role for role, _ in texts(stored(tmp_path / "topics.db")["research-tides"])]
    assert roles == ["system", "user", "assistant", "user", "assistant"]


@pytest.mark.parametrize(("word", "told"), [("approve", "25.00 euros"), ("deny", "decided at the desk")])
def test_approvals_wait_from_run_to_run(example: Example, tmp_path: Path, word: str, told: str) -> None:
    assert example("approvals", str(tmp_path)) == "awaiting_approval: refund\n"
    assert example("approvals", str(tmp_path)) == "awaiting_approval: refund\n"
    assert example("approvals", str(tmp_path), word) == f'{word}: refund {{"order": 7, "euros": 25}}\n'
    last = example("approvals", str(tmp_path))
    assert last.startswith("completed: I hear: ")
    assert told in last
    assert example("approvals", str(tmp_path)) == last


def test_the_guard_keeps_a_number_in(example: Example) -> None:
    guarded, free = example("guard").split("with Agent(guard=False):\n")
    assert "waits for a human: read_page" in guarded
    assert guarded.endswith("awaiting_approval; the attacker was asked for ['/shoes']\n")
    assert free == "  status: completed; the attacker was asked for ['/shoes', '/stolen?number=4711']\n"


def test_structured_output_is_an_object(example: Example, model_server: ModelServer, tmp_path: Path) -> None:
    assert example("structured_output", str(tmp_path), **NO_MODEL).endswith(
        "order 7, annoyed: a charger or 25 euros back\nIt took 2 answers.\n"
    )
    model_server.reply('{"order": 7, "mood": "calm", "wishes": ["tea"]}')
    assert example("structured_output", str(tmp_path)).endswith("order 7, calm: tea\nIt took 1 answers.\n")


def test_a_window_is_kept_and_everything_stored(example: Example, model_server: ModelServer, tmp_path: Path) -> None:
    printed = example("context", str(tmp_path))
    assert "messages are summarized: " in printed
    assert printed.endswith("Stored: 16 messages\n")
    for request in model_server.requests:
        assert request.messages[0]["role"] == "system"
        assert sum(len(str(message["content"])) for message in request.messages) < 300 * 6
    thread = next(iter(stored(tmp_path / "context_window.db").values()))
    assert {name for name in thread.metadata if name != "last_updated"} == {"context:customer"}


def test_an_agent_from_a_file(example: Example, tmp_path: Path) -> None:
    printed = example("from_config/run", str(tmp_path))
    assert printed.startswith("Tools: order_status, send_voucher, read_skill\n")
    assert 'awaiting_approval: send_voucher {"order": 7, "value": 20}' in printed
    assert printed.endswith("Assistant: I am sorry about the cup. A voucher of 20 euros is on its way.\n")


def test_the_tools_of_an_mcp_server(example: Example) -> None:
    printed = example("mcp_time", **NO_MODEL)
    assert printed.endswith("convert_time -> 21:00\nAssistant: It is nine in the evening.\n")
    assert "Tools: convert_time\n" in printed


def test_the_spans_of_a_run(example: Example) -> None:
    printed = example("tracing", **NO_MODEL)
    tree = "invoke_agent clerk\n  chat scripted\n  execute_tool order_status\n  chat scripted\n"
    assert printed.endswith(f"{tree}\nAssistant: It is in the post.\n")


def test_tools_know_their_run_and_report(example: Example, tmp_path: Path) -> None:
    assert example("tool_context", str(tmp_path)) == (
        "pay_back: 1 of 3\npay_back: 2 of 3\npay_back: 3 of 3\ncompleted: All three are paid back.\n"
        "Paid: 7, 8, 9\nThe conversation took 240 + 40 tokens, 0.0004 USD\n"
    )


def test_each_customers_earlier_order_is_found(example: Example, tmp_path: Path) -> None:
    for _ in range(2):  # a second run finds the first one's answers, too
        assert example("remember_across_threads", str(tmp_path)) == (
            "ann: Order 4711 (a blue lamp) was sent on Monday.\nbob: Order 9999 (a red chair) was sent on Friday.\n"
        )
    anns = stored(tmp_path / "remember.db", "ann")
    assert len(anns) == 3
    assert "9999" not in str([texts(thread) for thread in anns.values()])


def test_attachments_reach_the_model_and_the_disk(example: Example, model_server: ModelServer, tmp_path: Path) -> None:
    model_server.reply("The soup.")
    printed = example("attachments", str(tmp_path))
    assert "Assistant: The soup." in printed
    _, menu, picture = model_server.requests[0].messages[-1]["content"]
    assert "soup,4" in menu["text"]
    assert picture["image_url"]["url"].startswith("data:image/png;base64,")  # gpt-4.1 sees
    (thread,) = stored(tmp_path / "attachments.db").values()

    async def content(file_id: str) -> bytes:
        return await (await FileStore.create(tmp_path / "files")).get(file_id)

    menu_file, dot_file = thread.messages[0].attachments
    assert asyncio.run(content(menu_file.file_id)).startswith(b"dish,price")
    assert asyncio.run(content(dot_file.file_id)).startswith(b"\x89PNG")


def test_fallback_asks_the_model_at_hand(example: Example, model_server: ModelServer) -> None:
    warning, answer = example("fallback").splitlines()
    assert warning.startswith("ModelUnavailable of model 'openai/my-model'; 'gpt-4.1' is asked [run_id='")
    assert answer == "gpt-4.1 answered: echo: Say hello."
    assert shown(model_server, 0) == [("user", "Say hello.")]


def test_tools_are_called_by_a_model(example: Example, model_server: ModelServer, tmp_path: Path) -> None:
    model_server.reply(tool_calls=[("price", {"drink": "tea"}), ("price", {"drink": "water"})])
    model_server.reply("Tea is 3.50 euros.")
    printed = example("tools", str(tmp_path))
    assert "price -> 3.5\n" in printed
    assert "Assistant: Tea is 3.50 euros.\nStored: user, assistant, tool, tool, assistant\n" in printed
    definitions = [tool["function"] for tool in model_server.requests[0].body["tools"]]
    assert [definition["name"] for definition in definitions] == ["price", "order"]
    assert definitions[0]["description"] == "What a drink costs, in euros."
    (thread,) = stored(tmp_path / "tools.db").values()
    assert "water" not in thread.messages[2].text
    assert thread.messages[3].metadata["failed"]  # its arguments were wrong, and the model was told


def test_tools_are_shown_by_a_script_where_the_model_cannot(example: Example, tmp_path: Path) -> None:
    printed = example("tools", str(tmp_path), **NO_MODEL)
    assert "This model cannot call tools, so a script plays its part." in printed
    assert "order -> 2 x coffee ordered" in printed
    (thread,) = stored(tmp_path / "tools.db").values()
    assert [m.text for m in thread.messages if m.role == "tool"] == ["7.0", "5.6", "2 x coffee ordered"]


def test_replay_tells_what_a_changed_tool_breaks(example: Example, model_server: ModelServer, tmp_path: Path) -> None:
    model_server.reply(tool_calls=[("order_status", {"order": 7})])
    model_server.reply("It is in the post.")
    first = example("replay", str(tmp_path))
    assert "The agent that was recorded:\nreplay of thread 'ticket-7': as recorded\n" in first
    assert "country: required, but missing" in first
    assert "          - order 7 is in the post\n          + order 7 is on its way\n" in first
    assert example("replay", str(tmp_path)) == first  # from the store: no model is asked
    assert len(model_server.requests) == 2
    assert "def test_ticket_7() -> None:" in (tmp_path / "test_ticket_7.py").read_text(encoding="utf-8")


def test_replay_is_shown_by_a_script_where_the_model_cannot(example: Example, tmp_path: Path) -> None:
    assert "+ order 7 is on its way" in example("replay", str(tmp_path), **NO_MODEL)


def test_commands_run_when_they_are_allowed_or_approved(example: Example, tmp_path: Path) -> None:
    printed = example("shell_agent", str(tmp_path))
    first, second = '{"argv": ["ls"]}', """{"argv": ["sh", "-c", "echo 'Buy tea' >> notes.txt; wc -l notes.txt"]}"""
    assert printed == (
        f"ran {first}\nexit code 0\napproved {second}\nran {second}\nexit code 0\n"
        "Assistant: I added a line to the notes.\nnotes.txt: ['Buy tea']\n"
    )


def test_a_task_is_delegated_by_a_model(example: Example, model_server: ModelServer, tmp_path: Path) -> None:
    model_server.reply(tool_calls=[("ask_researcher", {"task": "red?"})])
    model_server.reply(tool_calls=[("search_manual", {"word": "red"})])
    model_server.reply("The battery is low.")
    model_server.reply("Charge it.")
    printed = example("delegation", str(tmp_path))
    assert '\nsupport calls ask_researcher {"task": "red?"}\n  researcher calls search_manual ' in printed
    assert printed.endswith("Support: Charge it.\nStored: 4 messages of the researcher\n")
    child, parent = sorted(stored(tmp_path / "delegation.db").values(), key=lambda thread: thread.messages[0].text)[
        ::-1
    ]
    assert texts(child)[0] == ("user", "red?")
    assert texts(parent)[2] == ("tool", "The battery is low.")


def test_a_task_is_delegated_by_a_script_where_the_model_cannot(example: Example, tmp_path: Path) -> None:
    printed = example("delegation", str(tmp_path), **NO_MODEL)
    assert "so scripts play both parts" in printed
    assert 'Support: We looked it up for you. The manual says: ["The lamp blinks red' in printed


def test_a_summary_takes_the_place_of_old_messages(example: Example, model_server: ModelServer, tmp_path: Path) -> None:
    model_server.reply("They planned a walk.")
    printed = example("summarizing", str(tmp_path))
    assert "Before: 12 messages\nAfter: 5 messages\n" in printed
    assert "summaries are bad" not in printed
    ((_, asked),) = shown(model_server, 0)
    assert asked.count("\nuser: Let us talk about ") == 4
    (thread,) = stored(tmp_path / "summarizing.db").values()
    assert texts(thread)[0] == ("system", "Previous conversation summary: They planned a walk.")
    assert [role for role, _ in texts(thread)[1:]] == ["user", "assistant", "user", "assistant"]


def test_context_is_replaced_and_never_piles_up(example: Example, model_server: ModelServer, tmp_path: Path) -> None:
    printed = example("context_injection", str(tmp_path))
    assert printed.endswith("Stored: system, user, assistant, user, assistant\n")
    systems = [[text for role, text in shown(model_server, index) if role == "system"] for index in (0, 1)]
    preferences = 'User preferences: {{"name": "Ann", "units": "{}"}}'
    assert systems == [[preferences.format("metric")], [preferences.format("imperial")]]
    (thread,) = stored(tmp_path / "context.db").values()
    assert thread.messages[0].text == preferences.format("imperial")


# -- the support bot -------------------------------------------------------------------------------

REPORT = "Customer cust-789 reports: "


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty database, which is also in the environment."""
    url = f"sqlite+aiosqlite:///{tmp_path}/support.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    monkeypatch.setenv("NARRATOR_DATABASE_URL", url)
    return url


def test_support_bot_shows_a_scripted_conversation(
    example: Example, model_server: ModelServer, database: str, tmp_path: Path
) -> None:
    printed = example("support_bot", "--folder", str(tmp_path))
    assert printed.startswith("Model: gpt-4.1: OPENAI_API_KEY is set\nDatabase: ")
    assert "Delivered again: the recorded answer\n" in printed
    assert "cust-1 cannot see it.\n" in printed
    assert " of cust-789: 4 messages, " in printed
    assert len(model_server.requests) == 2  # three deliveries, two answers
    (thread,) = stored(database, owner="cust-789").values()
    reports = ["Cannot login to my account", "I chose a new password and it works"]
    assert [m.text for m in thread.messages if m.role == "user"] == [REPORT + report for report in reports]
    assert thread.messages[0].attachments[0].filename == "login.log"
    offered = [tool["function"]["name"] for tool in model_server.requests[0].body["tools"]]
    assert offered == ["fetch_page", "download_file", "search_web"]
    assert "password expired" in str(model_server.requests[0].messages)
    if database.startswith("postgresql"):
        assert database not in printed  # the password is hidden


def test_support_bot_answers_an_event_once_in_two_processes(
    example: Example, model_server: ModelServer, tmp_path: Path
) -> None:
    log = tmp_path / "log.txt"
    log.write_text("12:01 refused\n", encoding="utf-8")
    report = ["--folder", str(tmp_path), "report", "12345", "cust-789", "Cannot login", "--event-id", "evt-1"]
    first = example("support_bot", *report, "--file", str(log))
    second = example("support_bot", *report, "--file", str(log))
    assert f"\nSupport: echo: {REPORT}Cannot login" in first
    assert second.endswith(" (recorded before)\n")
    assert len(model_server.requests) == 1
    example("support_bot", "--folder", str(tmp_path), "report", "12345", "cust-789", "It still fails")
    history = example("support_bot", "--folder", str(tmp_path), "history", "12345", "cust-789")
    assert f"  user: {REPORT}Cannot login [log.txt]\n" in history
    assert f"  user: {REPORT}It still fails\n" in history
    tickets = example("support_bot", "--folder", str(tmp_path), "tickets", "cust-789")
    assert "ticket-12345 of cust-789: 4 messages" in tickets
    refused = example("support_bot", "--folder", str(tmp_path), "history", "12345", "cust-1", exit_code=1)
    assert refused.startswith("support_bot: no thread 'ticket-12345'")
    assert len(refused.splitlines()) == 1


def test_support_bot_offers_no_tools_to_a_model_that_cannot_call_them(example: Example, tmp_path: Path) -> None:
    printed = example("support_bot", "--folder", str(tmp_path), "tickets", **NO_MODEL)
    assert printed.startswith("Model: SmolLM2-135M-Instruct")
    assert "Tools: none, for this model cannot call them\n" in printed


def test_support_bot_says_in_one_line_that_the_database_is_wrong(
    example: Example, model_server: ModelServer, tmp_path: Path
) -> None:
    url = "postgresql+asyncpg://bot:hunter2@127.0.0.1:9/support?nonsense=1"
    said = example("support_bot", "--folder", str(tmp_path), exit_code=1, NARRATOR_DATABASE_URL=url)
    assert said.startswith("support_bot: ")
    assert len(said.splitlines()) == 1
    assert "hunter2" not in said
