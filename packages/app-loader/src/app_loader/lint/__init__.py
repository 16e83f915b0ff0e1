"""Does application code know concrete model code? Read from its source; nothing of it is imported."""

from app_loader.lint.finding import Finding, Rule
from app_loader.lint.paths import lint_paths
from app_loader.lint.source import lint_source
from app_loader.lint.zoos import Zoo, known_zoos

__all__ = ["Finding", "Rule", "Zoo", "known_zoos", "lint_paths", "lint_source"]
