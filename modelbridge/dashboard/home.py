"""The way in: `/` leads to the page to start from."""

from flask import Blueprint, redirect, url_for
from flask.typing import ResponseReturnValue

pages = Blueprint("home", __name__)


@pages.get("/")
def index() -> ResponseReturnValue:
    """To the keys."""
    return redirect(url_for("keys.index"))
