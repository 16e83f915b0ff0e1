# Recipes of the repository; `uv run just` lists them. Every recipe runs in the environment of uv.lock.

set positional-arguments

run := "uv run --no-sync"

# list the recipes
default:
    @just --list --unsorted

# make the environment as uv.lock says
sync:
    uv sync --locked

# everything that CI runs
check:
    .ci/run

# the direction of imports (.importlinter)
contracts:
    {{ run }} lint-imports --no-cache

# style and formatting
lint:
    {{ run }} ruff check
    {{ run }} ruff format --check

# repair what the linter can and format everything
fix:
    {{ run }} ruff check --fix
    {{ run }} ruff format

# the strict type checker over packages, tools and tests
types:
    {{ run }} mypy

# the tests; arguments go to pytest, as in `just test tests/policy_interface -k config`
test *arguments:
    {{ run }} pytest "$@"

# no application code of ours may know a concrete model class
lint-app:
    {{ run }} mpt lint-app packages/app-loader/src packages/mpt-format/src

# the versions in the tree against what changed since the last release of each package
promises:
    {{ run }} python -m tools.release promises

# train, save and load the token policy in mettagrid, on Python 3.12 when one is on the machine
mettagrid:
    {{ run }} python -m tools.mettagrid

# two versions of real packages from the index in one process, each equal to itself alone
packages:
    {{ run }} --with pandas --with matplotlib --with tqdm pytest -q -p no:cacheprovider end_to_end/packages

# build the documentation site into site/, with no network; warnings are errors
docs:
    NO_MKDOCS_2_WARNING=1 {{ run }} mkdocs build --strict --quiet

# serve the documentation site while writing
docs-serve:
    NO_MKDOCS_2_WARNING=1 {{ run }} mkdocs serve

# release one package: just release model-zoo 0.4.0 [--dry-run]
release package version *options:
    {{ run }} python -m tools.release release "$@"

# build a released wheel again and compare it byte for byte: just rebuild model-zoo-v0.1.0
rebuild tag:
    @{{ run }} python -m tools.release rebuild "$1"

# write the index of the wheelhouse anew from its wheels
wheelhouse:
    {{ run }} python -m tools.release index

# a changelog fragment: just fragment model-zoo seed-slots feature "Seed slots may be pruned."
fragment package topic kind text:
    @{{ run }} towncrier create --config towncrier.toml --dir "packages/$1" --content "$4" "$2.$3.md"

# compare the audit's verdicts with another torch, as in: just audit-agreement 2.9.1
audit-agreement torch:
    uv run --no-project --with torch=={{ torch }} --with numpy --with-editable packages/mpt-format python -W ignore -m tests.mpt_format.audit.agreement

# fuzz the audit for some seconds, as in: just audit-fuzz pickle 900 (or: file)
audit-fuzz target seconds:
    PYTHONPATH=packages/mpt-format/src:. uv run --no-project --with atheris --with pyyaml --with click --with rich --with jinja2 python tests/attacks/audit/fuzz_audit.py {{ target }} {{ seconds }}
