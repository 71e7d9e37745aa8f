"""`python -m data_tools.town`."""

import sys

from data_tools.town.command import main

if __name__ == "__main__":
    sys.exit(main())
