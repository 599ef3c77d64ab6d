"""An engine that runs in a thread of its own and answers many callers.

thread = EngineThread(Engine(folder))
thread.submit(Request("My dream is")).result()[0].text
"""

import queue
import threading
from concurrent.futures import Future

from serve.engine.engine import Engine
from serve.engine.request import Choice, Request


class EngineThread(threading.Thread):
    """Requests come in from any thread; answers are futures. The thread starts at once."""

    def __init__(self, engine: Engine):
        super().__init__(daemon=True, name="engine")
        self.engine = engine
        self._inbox: queue.SimpleQueue[tuple[Request, Future[list[Choice]]] | None] = queue.SimpleQueue()
        self._pending: set[Future[list[Choice]]] = set()
        self.start()

    def submit(self, request: Request) -> "Future[list[Choice]]":
        """The request's choices, as a future.

        It raises ValueError if the prompt is too long, DamagedModel if the weights compute no numbers.
        """
        future: Future[list[Choice]] = Future()
        self._inbox.put((request, future))
        return future

    def close(self) -> None:
        """Ends the thread once everything submitted before is answered."""
        self._inbox.put(None)

    def run(self) -> None:
        """The thread's loop; `start` calls it."""
        closing = False
        while not closing or self.engine.busy:
            while not closing and (not self.engine.busy or not self._inbox.empty()):
                submitted = self._inbox.get()
                if submitted is None:
                    closing = True
                else:
                    self._accept(*submitted)
            try:
                self.engine.step()
            except Exception as error:
                self.engine.clear()
                for future in list(self._pending):
                    self._settle(future, error=error)

    def _accept(self, request: Request, future: "Future[list[Choice]]") -> None:
        self._pending.add(future)
        request.on_done = lambda choices: self._settle(future, choices)
        try:
            self.engine.add(request)
        except ValueError as error:
            self._settle(future, error=error)

    def _settle(
        self, future: "Future[list[Choice]]", choices: list[Choice] | None = None, error: Exception | None = None
    ) -> None:
        self._pending.discard(future)
        if not future.set_running_or_notify_cancel():
            return
        if error:
            future.set_exception(error)
        else:
            future.set_result(choices or [])
