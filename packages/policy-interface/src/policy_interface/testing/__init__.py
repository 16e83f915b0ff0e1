"""For model authors' tests: observations drawn from game rules and the conformance check. Needs torch."""

from policy_interface.testing.conformance import check_policy
from policy_interface.testing.sampling import sample_actions, sample_observation

__all__ = ["check_policy", "sample_actions", "sample_observation"]
