"""One command releases one package: `just release PACKAGE VERSION [--dry-run]`.

Read in order the modules are the release: packages, tree -> promises (the minimum bump) -> changelog, worktree ->
build -> rehearsal (the built wheel in a clean environment) -> wheelhouse -> museum -> release.
Nothing is written to the checkout before every step has passed; nothing is ever uploaded.
"""
