"""`python tests/cluster COMMAND`: see cli.py."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    from cluster.cli import main

    main()
