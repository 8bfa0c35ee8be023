"""`python -m modelgraft` is the command `modelgraft`."""

import sys

from modelgraft.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
