"""examples/notebook.ipynb runs top to bottom, and shows threads and results as tables."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from tests.model_server import ModelServer
from tyler import Attachment, Message, Result, Thread, ThreadStore, ToolCall, Usage

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples" / "notebook.ipynb"
HOSTILE = "<script>alert('x')</script>"

# The notebook's own libraries: zmq and jupyter_client announce changes of theirs.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Proactor event loop:RuntimeWarning")


def read() -> Any:
    import nbformat

    return nbformat.read(NOTEBOOK, as_version=4)


def executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The notebook, run in a fresh kernel."""
    from nbclient import NotebookClient

    # The kernel of this very Python, whatever kernels the user has installed.
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("JUPYTER_PATH", "")
    notebook = read()
    client = NotebookClient(notebook, timeout=100, resources={"metadata": {"path": str(tmp_path)}})
    asyncio.run(client.async_execute())
    return notebook


def html(cell: Any) -> list[str]:
    return [output["data"]["text/html"] for output in cell["outputs"] if "text/html" in output.get("data", {})]


def test_it_runs_top_to_bottom_and_shows_tables(
    model_server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = executed(tmp_path, monkeypatch)
    cells = {cell["source"].splitlines()[-1]: cell for cell in notebook["cells"] if cell["cell_type"] == "code"}
    (thread,) = html(cells["thread"])
    for text in ("First steps", "Hello, my name is Ann.", "echo: What is my name?"):
        assert text in thread
    (usage,) = html(cells["result.usage"])
    assert "<td>input tokens</td>" in usage
    summaries = html(cells["display(*await store.list_threads())"])
    assert len(summaries) == 2
    assert "notebook" in summaries[1]
    (result,) = html(cells['agent.go_sync("Say hello.")'])
    assert "echo: Say hello." in result
    assert not model_server.refused
    assert [len(recorded.messages) for recorded in model_server.requests] == [2, 4, 2, 2]


def test_stored_outputs_tell_nothing_of_the_machine() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert not re.search(r"/(?:home|root|Users|work|tmp)/|127\.0\.0\.1:\d+|\b[0-9a-f]{32}\b", text)


def test_tables_escape_what_strangers_wrote() -> None:
    call = ToolCall(id="c", name=HOSTILE)
    thread = Thread(title=HOSTILE, messages=[Message(role="assistant", content=HOSTILE, tool_calls=[call])])
    for shown in (thread._repr_html_(), Result(thread, thread.messages, "completed")._repr_html_()):
        assert "<script>" not in shown
        assert "&lt;script&gt;" in shown


def test_a_formula_in_a_message_is_not_set() -> None:
    shown = Thread(messages=[Message(role="user", content=r"$\href{javascript:alert(1)}{x}$")])._repr_html_()
    assert shown.startswith("<table class='tex2jax_ignore mathjax_ignore'>")


def test_calls_and_files_are_shown_escaped() -> None:
    call = ToolCall(id=HOSTILE, name="f", arguments=f'{{"a": "{HOSTILE}"}}')
    file = Attachment(filename=f"{HOSTILE}.txt", content="12345")
    thread = Thread(id=HOSTILE, messages=[Message(role="user", content="", tool_calls=[call], attachments=[file])])
    shown = thread._repr_html_()
    assert "<script>" not in shown
    assert "[calls f({&quot;a&quot;: &quot;&lt;script&gt;" in shown
    assert "alert(&#x27;x&#x27;)&lt;/script&gt;.txt, 5 bytes]" in shown


def test_huge_content_is_shortened() -> None:
    huge = "<" * 1_000_000
    messages = [Message(role="user", content=huge, tool_calls=[ToolCall(id="c", name=huge, arguments=huge)])] * 3
    thread = Thread(title=huge, messages=messages)
    for shown in (thread._repr_html_(), Result(thread, messages, "completed")._repr_html_()):
        assert len(shown) < 50_000
        assert "characters)" in shown
    many = Thread(messages=[Message(role="user", content=f"number {n}") for n in range(5_000)])._repr_html_()
    assert "4,800 earlier messages" in many
    assert "number 4999<" in many
    assert len(many) < 50_000


def test_a_result_shows_its_status_and_what_it_used() -> None:
    answer = Message(role="assistant", content="Hi", usage=Usage(input_tokens=1_000, output_tokens=7, cost_usd=0.25))
    free = Message(role="assistant", content="Hi", usage=Usage(input_tokens=1))
    thread = Thread(messages=[answer])
    assert "<caption>cut (1,007 tokens, $0.2500)</caption>" in Result(thread, [answer], "cut")._repr_html_()
    assert "<caption>completed (1 tokens, cost unknown)" in Result(thread, [free], "completed")._repr_html_()
    assert "<caption>completed (replayed)" in Result(thread, [answer], "completed", replayed=True)._repr_html_()


async def test_summaries_and_usage_are_tables() -> None:
    async with await ThreadStore.create() as store:
        await store.save_thread(Thread(id=HOSTILE, title="T"))
        (summary,) = await store.list_threads()
    shown = summary._repr_html_()
    assert "<script>" not in shown
    assert "<th>messages</th>" in shown
    assert "<td>output tokens</td><td>7</td>" in Usage(output_tokens=7)._repr_html_()
