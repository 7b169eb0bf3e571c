"""A strict OpenAI-compatible chat server on 127.0.0.1, in a thread of its own.

Real HTTP, so that sync tests, async tests and subprocesses meet what a provider would send them. It refuses
what providers refuse (`rules.py`), answers from a script (`reply.py`) and remembers what it was asked.
"""

import asyncio
import json
import threading
import uuid
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from .delivery import deliver, send_whole
from .gate import Gate
from .recorded import Recorded
from .reply import Reply, error_body, last_user_text
from .rules import Profile, violations

Respond = Callable[[dict[str, Any]], Reply | str]


class ModelServer:
    """A model provider for tests: `with ModelServer() as server: ... server.base_url`.

    Every method may be called from any thread. Valid requests take the scripted replies in order of arrival;
    a refused request takes none. With no script left, `respond` answers: it runs on the server's loop, so it
    must not block.
    """

    def __init__(self, *, port: int = 0, profile: Profile = "openai") -> None:
        self.requests: list[Recorded] = []
        self.refused: list[Recorded] = []
        self.errors: list[Exception] = []
        self.api_key: str | None = None
        self.models: set[str] | None = None
        self.respond: Respond = _echo
        self.profile: Profile = profile
        self._port = port
        self._prefix = uuid.uuid4().hex[:8]  # call ids stay unique across the servers of one conversation
        self._script: deque[Reply] = deque()
        self._changed = threading.Condition()
        self._gate = Gate(self._changed)
        self._answers = 0
        self._answering: set[asyncio.Task[Any]] = set()
        self._stopping = asyncio.Event()
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="model-server", daemon=True)

    # -- for the test ------------------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        """The address for an OpenAI client; it ends in /v1."""
        return f"http://127.0.0.1:{self._port}/v1"

    def env(self) -> dict[str, str]:
        """The variables that lead litellm and the OpenAI SDK here, in this process or a child."""
        return {
            "OPENAI_BASE_URL": self.base_url,
            "OPENAI_API_BASE": self.base_url,
            "OPENAI_API_KEY": "test-key",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        }

    def reply(self, reply: Reply | str | None = None, /, **fields: Any) -> None:
        """Script the next answer: a Reply, or a text and/or the fields of one."""
        if not isinstance(reply, Reply):
            reply = Reply(text=reply, **fields)
        elif fields:
            raise TypeError(f"give a Reply or its fields, not both: {sorted(fields)!r}")
        with self._changed:
            self._script.append(reply)

    @property
    def unused(self) -> int:
        """How many scripted replies nobody has asked for yet."""
        with self._changed:
            return len(self._script)

    def hold(self) -> None:
        """Keep every answer back, before its first byte, until `release()`."""
        self._gate.close()

    def release(self) -> None:
        """Let go what is held now and hold later answers no more, their own `hold_after` apart."""
        with self._changed:
            self._gate.open(self._loop)

    def wait_for_requests(self, count: int, timeout_s: float = 10.0) -> list[Recorded]:
        """Block until `count` requests have arrived; all of them. In a coroutine: `asyncio.to_thread`."""
        self._wait(lambda: len(self.requests) >= count, f"{count} requests", timeout_s)
        return self.requests

    def wait_for_held(self, count: int = 1, timeout_s: float = 10.0) -> None:
        """Block until `count` answers are held at once. In a coroutine: `asyncio.to_thread`."""
        self._wait(lambda: self._gate.waiting >= count, f"{count} held answers", timeout_s)

    def wait_for_hang_up(self, count: int = 1, timeout_s: float = 10.0) -> None:
        """Block until `count` clients have left before the end. In a coroutine: `asyncio.to_thread`."""
        self._wait(lambda: sum(r.hung_up for r in self.requests) >= count, f"{count} hang-ups", timeout_s)

    def start(self) -> None:
        """Listen; a port that is taken raises OSError here."""
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def close(self) -> None:
        """Stop, breaking off the answers that are still under way. Safe to call twice."""
        with self._changed:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if error is None and self.errors:  # a bug in a test's `respond` must not pass for a model's failure
            raise self.errors[0]

    def _wait(self, reached: Callable[[], bool], what: str, timeout_s: float) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise RuntimeError("this would block the event loop: use `await asyncio.to_thread(server.wait_for_...)`")
        with self._changed:
            if not self._changed.wait_for(reached, timeout_s):
                seen = f"{len(self.requests)} requests ({len(self.refused)} refused), {self._gate.waiting} held"
                raise TimeoutError(f"waited {timeout_s} s for {what}; so far {seen}")

    # -- in the server's thread --------------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:
            self._failure = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        # A cancelled handler is how the server learns that a client has hung up.
        runner = web.ServerRunner(
            web.Server(self._handle, handler_cancellation=True, access_log=None), shutdown_timeout=1.0
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", self._port, backlog=1024).start()
            self._port = runner.addresses[0][1]
            with self._changed:
                self._loop = asyncio.get_running_loop()
            self._started.set()
            await self._stopping.wait()
            with self._changed:
                self._loop = None
            for task in self._answering:
                task.cancel()
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        match request.method, request.path:
            case "POST", "/v1/chat/completions":
                return await self._complete(request)
            case "GET", "/v1/models":
                names = sorted(self.models or {"gpt-4"})
                models = [{"id": name, "object": "model", "created": 0, "owned_by": "tests"} for name in names]
                return web.json_response({"object": "list", "data": models})
            case "GET", "/requests":  # for other processes, which can't read `server.requests`
                return web.json_response([r.as_json() for r in self.requests])
        return web.json_response(error_body(f"no such route: {request.method} {request.path}", 404), status=404)

    async def _complete(self, request: web.BaseRequest) -> web.StreamResponse:
        recorded = await self._record(request)
        task = asyncio.current_task()
        assert task is not None
        self._answering.add(task)
        try:
            refusal = self._refusal(recorded)
            if refusal is not None:
                return await send_whole(request, recorded, refusal)
            reply, completion_id = self._next_reply(recorded)
            if self._gate.closed:
                await self._gate.wait()
            return await deliver(request, recorded, reply, completion_id, self._gate.wait)
        except (asyncio.CancelledError, ConnectionError):
            with self._changed:
                recorded.hung_up = not recorded.finished and not self._stopping.is_set()
                self._changed.notify_all()
            raise
        finally:
            self._answering.discard(task)

    async def _record(self, request: web.BaseRequest) -> Recorded:
        raw = await request.content.read()  # request.read() stops at 1 MB
        body: Any = None
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError) as error:
            reasons = [f"the body is not JSON: {error}"]
        else:
            reasons = violations(body, self.profile)
        recorded = Recorded(body if isinstance(body, dict) else {}, request.headers, reasons)
        with self._changed:
            self.requests.append(recorded)
            if reasons:
                self.refused.append(recorded)
            self._changed.notify_all()
        return recorded

    def _refusal(self, recorded: Recorded) -> web.Response | None:
        """The HTTP error that a provider would answer to this request, whatever the script says."""
        authorization = recorded.headers.get("Authorization")
        if self.api_key is not None and authorization != f"Bearer {self.api_key}":
            status, message = 401, "Incorrect API key provided"
        elif recorded.violations:
            status, message = 400, "; ".join(recorded.violations)
        elif self.models is not None and recorded.body["model"] not in self.models:
            status, message = 404, f"The model {recorded.body['model']!r} does not exist"
        else:
            return None
        return web.json_response(error_body(message, status), status=status)

    def _next_reply(self, recorded: Recorded) -> tuple[Reply, str]:
        with self._changed:
            self._answers += 1
            completion_id = f"{self._prefix}_{self._answers}"
            if self._script:
                return self._script.popleft(), completion_id
        try:
            answer = self.respond(recorded.body)
        except Exception as error:  # a test's own code: shown to the test at the end, and not retried by clients
            self.errors.append(error)
            answer = Reply(status=400, error=f"respond raised {error!r}")
        return Reply(text=answer) if isinstance(answer, str) else answer, completion_id


def _echo(request: dict[str, Any]) -> str:
    return f"echo: {last_user_text(request)}"
