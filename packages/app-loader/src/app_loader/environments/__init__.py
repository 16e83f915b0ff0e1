"""Adapters between live environments and policies: game rules out, observations in, actions out.

One module per library, imported by name (`app_loader.environments.gymnasium`), because each needs its own extra.
"""
