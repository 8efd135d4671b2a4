"""``python -m modelport`` is ``modelport``."""

from modelport.cli import main

main()
