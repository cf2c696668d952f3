"""A key that leaked is revoked by whoever found it: having it is all the proof that it takes."""

from flask import Response, request
from sqlalchemy.orm import Session

from modelbridge import jsonio
from modelbridge.errors import InvalidApiKey
from modelbridge.identity import auditlog, keys, rotation
from modelbridge.store.tables import ApiKey
from modelbridge.v1.errors import name_response
from modelbridge.v1.guard import gateway, sent_key

_FINDER = "whoever has the key"


def revoke() -> Response:
    """The secret that was sent opens nothing any more: JSON that says what was revoked.

    Its key is revoked with it, unless the secret was rotated away before: then the new one goes
    on working. Sent again, it changes nothing and says the same. Networks, expiry and people
    don't matter here.
    """
    secret = sent_key(request.headers, x_api_key=True)
    with gateway().database.transaction() as session:
        found = rotation.find_by_secret(session, secret)
        if found is None:
            raise InvalidApiKey("This API key is not known here. Check that it was copied whole.")
        key, retired = found
        if retired is None:
            is_news = keys.revoke(session, key)
        else:
            is_news = rotation.end_secret(session, retired)
        if is_news:
            _note(session, key, of_old_secret=retired is not None)
        body = {
            "object": "key.revocation",
            "id": key.id,
            "key": keys.hint(key) if retired is None else f"{retired.prefix}…{retired.last4}",
            "revoked": "key" if retired is None else "earlier_secret",
            "already_revoked": not is_news,
        }
    response = Response(jsonio.dumps(body), content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    name_response(response)
    return response


def _note(session: Session, key: ApiKey, *, of_old_secret: bool) -> None:
    auditlog.record(
        session,
        actor=None,
        actor_text=_FINDER,
        action="key.end_overlap" if of_old_secret else "key.revoke",
        subject_kind="key",
        subject_id=key.id,
        subject=f"{key.name} ({key.prefix}…)",
        details={"by": "possession"},
        address=request.remote_addr or "",
    )
