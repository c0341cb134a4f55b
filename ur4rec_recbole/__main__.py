"""`python -m ur4rec_recbole` is the `ur4rec` command."""

import sys

from ur4rec_recbole.commands.main import main

sys.exit(main())
