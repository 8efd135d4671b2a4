"""``python -m operations migrate``: brings the database that the settings name up to date."""

import sys

from operations.database import database
from operations.migrate import migrate


def main() -> int:
    """Run the one command that there is; anything else is explained on standard error and answered with 2."""
    if sys.argv[1:] != ["migrate"]:
        sys.stderr.write("usage: python -m operations migrate\n")
        return 2
    migrate(database())
    return 0


if __name__ == "__main__":
    sys.exit(main())
