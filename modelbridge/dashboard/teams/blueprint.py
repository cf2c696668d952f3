"""Where the pages about teams are hung up."""

from flask import Blueprint

pages = Blueprint("teams", __name__, url_prefix="/teams")
