"""The end-to-end run in mettagrid: the world this problem comes from, whose wheels need Python 3.12."""
