"""``rowen``, and ``python -m rowen.cli``."""

from __future__ import annotations

import signal


def main() -> None:
    """The entry point."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        # While modules load there is nothing to clean up, and a traceback would help nobody.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from rowen.cli.main import main as begin

    signal.signal(signal.SIGINT, handler)
    begin()


if __name__ == "__main__":
    main()
