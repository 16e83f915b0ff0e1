"""The template of a model zoo: a package that depends on policy-interface alone, ready to be released and loaded."""

from app_loader.template.names import ZooNames, parse_zoo_name
from app_loader.template.write import write_zoo

__all__ = ["ZooNames", "parse_zoo_name", "write_zoo"]
