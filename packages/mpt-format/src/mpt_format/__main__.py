"""`python -m mpt_format` is the `mpt` command, for where the script is not on the path."""

from mpt_format.cli import main

main()
