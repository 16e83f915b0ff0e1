"""Drafting a revision: what can be known is written down, what cannot is asked; a person finishes and reviews it."""

from app_loader.migration.draft.draft import Draft, draft_revision

__all__ = ["Draft", "draft_revision"]
