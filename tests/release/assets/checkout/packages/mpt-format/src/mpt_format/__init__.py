"""A package to release."""

__all__ = ["double"]


def double(number: int) -> int:
    """Return twice the number."""
    return 2 * number
