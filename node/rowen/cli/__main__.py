"""``python -m rowen.cli`` is ``rowen``."""

from rowen.cli.main import main

main()
