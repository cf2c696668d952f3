"""`python app.py` serves ModelBridge; the `flask` command finds the app, and its commands, here."""

import sys

from modelbridge.factory import create_app

__all__ = ["create_app"]

if __name__ == "__main__":
    from modelbridge.server import main

    sys.exit(main())
