"""``python -m nexus_actors.cli`` is ``nexus``."""

from nexus_actors.cli.entry import main

main()
