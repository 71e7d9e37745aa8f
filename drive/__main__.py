"""``python -m drive``: the same as the ``drive`` command."""

import sys

from drive.cli import main

sys.exit(main())
