"""Pages of front-ends: bundled with their libraries, and served from another address than the service's."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from tests.clients.node import FOLDER

PAGE = '<!doctype html><meta charset="utf-8"><title>Chat</title><body><script type="module" src="page.js"></script>'
BUNDLE_LIMIT_S = 60


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving_page(module: str, folder: Path) -> Iterator[str]:
    """Bundle a module of this folder into `folder`, and serve it. Yield the page's address."""
    bundle = [FOLDER / "node_modules" / ".bin" / "esbuild", module, "--bundle", "--format=esm", "--log-level=error"]
    options = [f"--outfile={folder / 'page.js'}", '--define:process.env.NODE_ENV="production"']
    subprocess.run([*bundle, *options], cwd=FOLDER, check=True, timeout=BUNDLE_LIMIT_S)
    (folder / "index.html").write_text(PAGE)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
