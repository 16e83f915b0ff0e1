"""The template of a model zoo: a package that depends on policy-interface alone, ready to be released and loaded."""

from app_loader.template.index import NamedIndex, NoIndexError, find_index, parse_index
from app_loader.template.names import ZooNames, parse_zoo_name
from app_loader.template.write import write_zoo

__all__ = ["NamedIndex", "NoIndexError", "ZooNames", "find_index", "parse_index", "parse_zoo_name", "write_zoo"]
