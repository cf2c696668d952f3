"""Where the pages about the visitor's own account are hung up."""

from flask import Blueprint

pages = Blueprint("account", __name__, url_prefix="/account")
