"""``python -m worker`` is ``callctl``."""

from worker.cli.app import main

main()
