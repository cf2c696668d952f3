"""The documentation in the app."""

from modelbridge.dashboard.docs.pages import pages

__all__ = ["pages"]
