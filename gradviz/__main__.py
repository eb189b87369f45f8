"""`python -m gradviz`."""

from gradviz.cli.app import main

main()
