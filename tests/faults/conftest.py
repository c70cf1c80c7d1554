"""The pipeline tests' repositories, for what is done to real DVC in them."""

from tests.pipeline.conftest import finished, fresh, repo, warm

__all__ = ["finished", "fresh", "repo", "warm"]
