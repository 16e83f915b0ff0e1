"""Building: from a document and rules to a policy, on the `meta` device: no memory is spent before weights come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from policy_interface import GameRules, InvalidConfigError, Policy, PolicyArchitecture, PolicyInterfaceError

from app_loader.errors import BuildError, LoaderError
from app_loader.recomputed import make_recomputed

if TYPE_CHECKING:
    from app_loader.code import Code


def read_architecture(code: Code, document: Mapping[str, Any], *, archive: str = "") -> PolicyArchitecture:
    """Return the architecture of an archive in the classes of this code.

    Raises:
        UnknownKindError: the code does not declare the kind.
        BuildError: importing the code failed, what it declares is no architecture, or the config does not fit its
        class; `problems` says where.
    """
    kind = str(document.get("kind"))
    try:
        cls = code.architecture_class(kind)
    except LoaderError:
        raise
    except Exception as error:  # whatever model code raises is a fact about that code
        raise BuildError(_subject(code, kind), stage="import", cause=describe(error), archive=archive) from error
    if not (isinstance(cls, type) and issubclass(cls, PolicyArchitecture)):
        cause = f"its entry point gives {cls!r:.80}, expected a subclass of policy_interface.PolicyArchitecture"
        raise BuildError(_subject(code, kind), stage="import", cause=cause, archive=archive)
    try:
        return cls.from_document(document)
    except InvalidConfigError as error:
        raise BuildError(
            _subject(code, kind), stage="config", cause=describe(error), problems=error.problems, archive=archive
        ) from error
    except Exception as error:  # a validator is model code
        raise BuildError(_subject(code, kind), stage="config", cause=describe(error), archive=archive) from error


def build_on_meta(architecture: PolicyArchitecture, rules: GameRules, *, subject: str, archive: str = "") -> Policy:
    """Return a policy whose tensors have shapes and no memory, but for buffers that no state dict carries.

    Raises:
        BuildError: the model code raised, or what it returned is not a policy.
    """
    try:
        with torch.device("meta"):
            policy = architecture.make_policy(rules)
        if isinstance(policy, Policy):
            make_recomputed(policy, architecture, rules)
    except PolicyInterfaceError as error:
        raise BuildError(
            subject,
            stage="make_policy",
            cause=describe(error),
            problems=getattr(error, "problems", ()),
            archive=archive,
        ) from error
    except Exception as error:  # whatever model code raises is a fact about that code
        raise BuildError(subject, stage="make_policy", cause=describe(error), archive=archive) from error
    if not isinstance(policy, Policy):
        cause = f"make_policy returned {type(policy).__qualname__}, expected a policy_interface.Policy"
        raise BuildError(subject, stage="make_policy", cause=cause, archive=archive)
    return policy


def describe(error: BaseException) -> str:
    """Return the type and text of an error: what is kept of it, since model code's own errors may not pickle."""
    return f"{type(error).__qualname__}: {error}"


def _subject(code: Code, kind: str) -> str:
    return f"{kind} of {code.distribution} {code.version}"
