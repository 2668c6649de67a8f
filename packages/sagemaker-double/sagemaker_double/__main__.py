"""`python -m sagemaker_double --port 0`: serves the double and prints its address."""

from __future__ import annotations

import argparse
import json

from .server import Double, serve


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sagemaker_double", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=JSON",
        help="a setting (settings.py), as starting=0.5",
    )
    parser.add_argument("--owner-on-stdin", action="store_true", help="end when standard input does")
    arguments = parser.parse_args()
    pairs = (each.split("=", 1) for each in arguments.set)
    double = Double(arguments.port, arguments.host, **{name: _value(text) for name, text in pairs})
    serve(double, owner_on_stdin=arguments.owner_on_stdin)


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


if __name__ == "__main__":
    main()
