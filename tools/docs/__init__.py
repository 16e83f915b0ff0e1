"""The documentation site: which pages stand where, and the pages that come from the root of the repository."""
