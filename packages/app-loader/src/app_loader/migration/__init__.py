"""Migrations as an act: drafted by trial, written to a new archive, proven against the code that trained it.

Following reviewed revisions while loading is `app_loader.revisions`; this package stands above `load_policy`.
"""
