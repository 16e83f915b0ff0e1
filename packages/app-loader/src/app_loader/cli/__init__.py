"""The verbs that app-loader adds to the `mpt` command, one module each, through the entry points `mpt.commands`."""
