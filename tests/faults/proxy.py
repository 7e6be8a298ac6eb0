"""A proxy whose connections can be frozen: bytes wait as they do behind a stopped process, and nothing is closed."""

import asyncio
import threading
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]
PIECE_BYTES = 65_536


class Proxy:
    """Listen at an address and pass everything on to a target. Each is a port of this machine or the path of a socket.

    A context manager. The address of port 0 is chosen by the system and is `port` then.
    """

    def __init__(self, address: int | Path, target: int | Path) -> None:
        self._address, self._target = address, target
        self._loop = asyncio.new_event_loop()
        self._may_pass = asyncio.Event()
        self._may_pass.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self.port = 0

    def __enter__(self) -> "Proxy":
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def freeze(self) -> None:
        """Pass nothing on. New connections are accepted, as the kernel does for a stopped process."""
        self._loop.call_soon_threadsafe(self._may_pass.clear)

    def thaw(self, *, and_cut: bool = False) -> None:
        """Go on where it stopped, or cut all connections."""

        def go_on() -> None:
            if and_cut:
                for writer in self._writers:
                    writer.transport.abort()
            self._may_pass.set()

        self._loop.call_soon_threadsafe(go_on)

    def _run(self, work: Awaitable[Any]) -> None:
        async def run() -> None:
            await work

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    async def _listen(self) -> None:
        if isinstance(self._address, Path):
            self._server = await asyncio.start_unix_server(self._serve, self._address)
            return
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._address, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, *near: Any) -> None:
        self._writers.add(near[1])
        far: Ends | None = None
        try:
            await self._may_pass.wait()
            far = await self._connect()
            self._writers.add(far[1])
            await asyncio.gather(self._pass_on(near[0], far[1]), self._pass_on(far[0], near[1]))
        except OSError:
            # Both ends break as one connection does.
            for writer in self._both(near, far):
                writer.transport.abort()
        except asyncio.CancelledError:
            # At the end of the proxy. asyncio would report it.
            pass
        finally:
            for writer in self._both(near, far):
                self._writers.discard(writer)
                writer.close()

    @staticmethod
    def _both(near: Any, far: Ends | None) -> list[asyncio.StreamWriter]:
        return [near[1], far[1]] if far else [near[1]]

    async def _connect(self) -> Ends:
        if isinstance(self._target, Path):
            return await asyncio.open_unix_connection(self._target)
        return await asyncio.open_connection("127.0.0.1", self._target)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE_BYTES):
            await self._may_pass.wait()
            writer.write(piece)
            await writer.drain()
        await self._may_pass.wait()
        if writer.can_write_eof():
            writer.write_eof()
