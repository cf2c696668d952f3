"""Where the pages about keys are hung up."""

from flask import Blueprint

pages = Blueprint("keys", __name__, url_prefix="/keys")
