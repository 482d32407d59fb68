"""
What the members of bodies and queries mean, by their names on the wire, each with an example.

A name means the same wherever it occurs; where one shape uses it otherwise, its entry is named ``Shape.member``. The
OpenAPI document takes its descriptions and examples from here, and a test finds names without an entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
from msgspec import UNSET

if TYPE_CHECKING:
    from collections.abc import Mapping


@attrs.frozen
class Term:
    """
    A member's meaning, in one or more sentences.

    Attributes:
        example: A value it may have; left out where the shape of the member has one itself.
    """

    meaning: str
    example: Any = UNSET


_USER_ID: Final = "0192f0c1-2a4b-7c3d-8e5f-60718293a4b5"
_ROLE_ID: Final = "0192f0c1-2a4b-7c3d-8e5f-00000000000a"
_PERMISSION_ID: Final = "0192f0c1-2a4b-7c3d-8e5f-00000000000b"
_CLIENT_ID: Final = "0192f0c1-2a4b-7c3d-8e5f-00000000000d"
_AUTH_METHODS: Final = ["client_secret_basic", "client_secret_post"]
_TIME: Final = "2026-03-01T12:00:00Z"

_ONE_TIME_PASSWORD: Final = Term("The six digits that the authenticator shows; each counts once.", "492039")

TERMS: Final[Mapping[str, Term]] = {
    # --- settings at run time -----------------------------------------------------------------------------------------
    "settings": Term(
        "All settings that may change at run time.",
        [
            {
                "name": "logLevel",
                "value": "DEBUG",
                "source": "database",
                "expected": "DEBUG, INFO, WARNING or ERROR",
                "description": "The least level that is logged.",
                "problem": None,
            }
        ],
    ),
    "values": Term(
        "New values by the names of settings; null takes away what the database holds.", {"logLevel": "DEBUG"}
    ),
    "value": Term("What counts, as JSON has it.", "DEBUG"),
    "source": Term("Where the value comes from; what the environment gives goes before the database.", "database"),
    "expected": Term("What the setting may be, in words.", "DEBUG, INFO, WARNING or ERROR"),
    "problem": Term("Why what the database holds is of no use here; null where it is used, or nothing is there.", None),
    "unusable": Term(
        "What the database holds besides, by name, and why it is of no use here: another version may know it.", {}
    ),
    "SettingsPatchBody.reason": Term("Why, in at most 500 characters, for whoever reads the history.", "an incident"),
    "SettingItem.name": Term("The setting's name.", "logLevel"),
    "SettingItem.description": Term("What the setting decides.", "The least level that is logged."),
    "SettingsAnswer.version": Term("Raised by each change; 0 where there was none.", 3),
    # --- accounts ---------------------------------------------------------------------------------------------------
    "attributes": Term("What administrators noted about the user, as a JSON object.", {"department": "sales"}),
    "createdAt": Term("When it was made, in UTC.", _TIME),
    "deletedAt": Term("When the user was deleted, in UTC; null for one who was not.", None),
    "email": Term(
        "An e-mail address of at most 254 octets. Shown as typed; letters count the same in either case.",
        "robin@example.com",
    ),
    "emailVerified": Term("Whether the owner confirmed the address by a mailed link.", example=True),
    "mfaEnabled": Term("Whether signing in takes a second factor.", example=False),
    "emailUndeliverableSince": Term(
        "When the address was found to take no mail; null where nothing is known of it.", None
    ),
    "pendingEmail": Term("An address that is to replace the present one as soon as it is confirmed.", None),
    "roles": Term("The names of the roles that the user holds.", ["user"]),
    "AccountRestoredAnswer.status": Term("Only `active` can sign in; a suspension is not lifted.", "active"),
    "UserPatchBody.status": Term("What it is to be: `suspended`, or `active` again.", "suspended"),
    "statusReason": Term(
        "Why; a suspension needs it. It is kept in the audit log and told in the event.", "chargeback"
    ),
    "hardDelete": Term("`true` erases the user for good; else they can be restored for 30 days.", "false"),
    "status": Term(
        "`pending_verification` until the address is confirmed, then `active`, `suspended` by an administrator, or "
        "`deactivated` by the owner; more may come.",
        "active",
    ),
    "AccountPatchBody.email": Term(
        "The address that the account is to have; a link is mailed to it, and it stays pending until that is opened.",
        "robin@example.net",
    ),
    "AccountPatchBody.pendingEmail": Term("Null to withdraw a change that waits for its confirmation.", None),
    "AccountPatchBody.status": Term("Where the account stands; it cannot be changed here.", "active"),
    "updatedAt": Term("When it was last changed, in UTC.", _TIME),
    "user": Term("Whose it is."),
    "userId": Term("The id of a user.", _USER_ID),
    "version": Term("Raised by each change; the ETag holds it.", 3),
    "id": Term("Given once and never changed: a UUID, of version 7.", _USER_ID),
    # --- signing in -------------------------------------------------------------------------------------------------
    "accessToken": Term(
        "A JWT to send as `Authorization: Bearer …`; its form may change, so do not read it.",
        "eyJhbGciOi.eyJpc3Mi.c2ln",
    ),
    "currentPassword": Term("The caller's password as it is now.", "correct horse battery staple"),
    "expiresIn": Term("Seconds until the access token expires.", 590),
    "newPassword": Term(
        "What the password is to be; checked against `GET /auth/password-policy` and lists of common ones.",
        "another sentence, as long",
    ),
    "LoginBody.newPassword": Term(
        "What takes the place of a password that was issued; leave it out where the password was chosen.",
        "another sentence, as long",
    ),
    "password": Term(
        "A password. A new one is checked against `GET /auth/password-policy` and lists of common ones.",
        "correct horse battery staple",
    ),
    "deviceToken": Term(
        "Says that a user has signed in on this device before, for ninety days: keep it there, and send it with the"
        " next sign-in. It opens nothing by itself.",
        "s1.k1.AAEC",
    ),
    "refreshExpiresIn": Term("Seconds until the refresh token expires unless it is used before.", 1_209_600),
    "refreshToken": Term("Good for one exchange, then replaced by the next one. Keep it secret.", "r1.AAEC.AwQF"),
    "MfaCodeBody.code": _ONE_TIME_PASSWORD,
    "MfaChallengeBody.code": _ONE_TIME_PASSWORD,
    "ReauthenticateBody.code": _ONE_TIME_PASSWORD,
    "recoveryCode": Term(
        "A recovery code, with its dashes or without; each counts once.", "MZXW-6YTB-OI7A-2345-GEZD-GNBV"
    ),
    "recoveryCodes": Term(
        "To keep where they are found without the device; each counts once.", ["MZXW-6YTB-OI7A-2345-GEZD-GNBV"]
    ),
    "mfaRequired": Term("Says that no session has begun yet.", example=True),
    "mfaSessionToken": Term(
        "To be given to `POST /auth/mfa/challenge` within five minutes.",
        "dGhlIHRva2VuIG9mIGEgc2lnbi1pbiB0aGF0IHdhaXRz",
    ),
    "otpauthUrl": Term(
        "What authenticator apps open.",
        "otpauth://totp/User%20Service:robin%40example.com?secret=JBSWY3DPEHPK3PXP&issuer=User%20Service",
    ),
    "MfaSetupAnswer.secret": Term("The same in base32, to type in.", "JBSWY3DPEHPK3PXP"),
    "qrSvg": Term("The same as a QR code, an `svg` element.", '<svg xmlns="http://www.w3.org/2000/svg"></svg>'),
    "token": Term("The token of a mailed link, as it stands in the link.", "dGhlIHRva2VuIG9mIGEgbWFpbGVkIGxpbms"),
    "tokenType": Term("How to send the access token (RFC 6749 §5.1).", "Bearer"),
    "purpose": Term("What a mailed token is for; null where it is unknown.", "verify_email"),
    "valid": Term("Whether the token would be accepted now.", example=True),
    "maxBytes": Term("How many bytes of UTF-8 a password may have.", 1_024),
    "maxCharacters": Term("How many characters a password may have.", 128),
    "minCharacters": Term("How many characters a password must have.", 15),
    "rememberedPasswords": Term("How many passwords before the present one are no new ones.", 3),
    # --- profiles ---------------------------------------------------------------------------------------------------
    "bio": Term("What the user says of themselves, of at most 500 characters.", "Grows tomatoes."),
    "communicationPreferences": Term(
        "What the user wants to be told, as a JSON object of at most 16 KiB.", {"newsletter": False}
    ),
    "dateOfBirth": Term("A day that is not in the future and at most 120 years ago.", "1990-05-17"),
    "displayName": Term("How the user wants to be called, of at most 100 characters.", "Robin"),
    "firstName": Term("Of at most 100 characters.", "Robin"),
    "gender": Term("In the user's own words.", "non-binary"),
    "language": Term("A language tag (BCP 47).", "en-GB"),
    "lastName": Term("Of at most 100 characters.", "Hill"),
    "phoneNumber": Term("In the form of E.164.", "+442079460018"),
    "phoneVerified": Term("Whether the number was confirmed; read-only.", example=False),
    "preferences": Term("Choices of the user, as a JSON object of at most 16 KiB.", {"theme": "dark"}),
    "profilePictureUrl": Term(
        "Where the picture is, by `https`, of at most 2,048 characters.", "https://cdn.example/r.png"
    ),
    "timezone": Term("The name of a time zone (IANA).", "Europe/London"),
    # --- addresses --------------------------------------------------------------------------------------------------
    "additionalNotes": Term("For who delivers, of at most 500 characters.", "Ring twice."),
    "addressLine1": Term("Street and number, of at most 255 characters.", "12 Hill Street"),
    "addressLine2": Term("What does not fit into the first line, of at most 255 characters.", "Flat 3"),
    "addressType": Term("What the address is to its owner.", "home"),
    "billing": Term("True makes the address the default for bills.", example=True),
    "city": Term("Of at most 100 characters.", "London"),
    "companyName": Term("Of at most 150 characters.", "Hill & Sons"),
    "contactName": Term("Whom to ask for, of at most 200 characters.", "Robin Hill"),
    "contactPhone": Term("In the form of E.164.", "+442079460018"),
    "countryCode": Term("Of ISO 3166-1, in capitals.", "GB"),
    "isDefaultBilling": Term("Whether bills go there if nothing else is said; one address at most.", example=False),
    "isDefaultShipping": Term("Whether parcels go there if nothing else is said; one address at most.", example=True),
    "postalCode": Term("As the country writes it; required where it has them.", "SW1A 1AA"),
    "shipping": Term("True makes the address the default for parcels.", example=True),
    "stateOrProvince": Term("Its name or code; required where the country uses them.", None),
    # --- roles and permissions --------------------------------------------------------------------------------------
    "action": Term("What may be done: lower-case letters, digits and `_`, or `*` for everything.", "read"),
    "checkedPermissions": Term("Each permission asked for, in the order of the question."),
    "checks": Term("What to check, up to 100 at once."),
    "description": Term("What it is for, for people.", "May read invoices."),
    "granted": Term("Whether the user may do it; of several, whether all.", example=True),
    "groupName": Term("Under which heading to show the permission.", "Invoices"),
    "isSystemPermission": Term("Whether it belongs to the service itself and cannot be deleted.", example=False),
    "isSystemRole": Term(
        "Whether it belongs to the service itself and can be neither deleted nor renamed.", example=False
    ),
    "name": Term("Of at most 100 characters, and no other one's, whatever the case.", "accountant"),
    "PermissionAnswer.name": Term("Resource and action, joined by a colon.", "invoice:read"),
    "PermissionBody.name": Term("Resource and action, joined by a colon.", "invoice:read"),
    "PermissionPatchBody.name": Term("Resource and action, joined by a colon.", "invoice:read"),
    "permission": Term("A permission by its name, `resource:action`.", "invoice:read"),
    "permissionId": Term("The id of a permission; repeat the parameter for each.", [_PERMISSION_ID]),
    "permissionIds": Term("The ids of permissions.", [_PERMISSION_ID]),
    "permissions": Term("Permissions by name, `resource:action`; `*` stands for everything.", ["invoice:read"]),
    "resource": Term("What it is about: lower-case letters, digits and `_`, or `*` for everything.", "invoice"),
    "resourceOwnerId": Term(
        "The user who owns what it is about; for them `resource:action_own` grants `resource:action`.", _USER_ID
    ),
    "resourceType": Term("Show only what concerns this resource.", "invoice"),
    "results": Term("The answers, in the order of the checks."),
    "roleId": Term("The id of a role; repeat the parameter for each.", [_ROLE_ID]),
    "roleIds": Term("The ids of roles.", [_ROLE_ID]),
    "force": Term("`true` deletes also what is in use, and ends that use.", "false"),
    # --- service clients --------------------------------------------------------------------------------------------
    "disabled": Term("Whether it gets no tokens, and those it got are refused.", example=False),
    "disabledAt": Term("When it was disabled, in UTC; null while it is not.", None),
    "lastUsedAt": Term("When it was used last, in UTC and to the minute; null if never.", None),
    "secret": Term("A secret in clear, which is shown this once. Keep it where only the client finds it.", "rHkG-3Vx"),
    "secrets": Term("The secrets that are good, at most two, without what is secret of them."),
    "ClientAnswer.id": Term("What the client sends as its `client_id`.", _CLIENT_ID),
    "NewClientAnswer.id": Term("What the client sends as its `client_id`.", _CLIENT_ID),
    "ClientPatchBody.name": Term("Of at most 100 characters; several clients may have the same.", "invoices"),
    "NewClientBody.name": Term("Of at most 100 characters; several clients may have the same.", "invoices"),
    "ClientAnswer.name": Term("Of at most 100 characters; several clients may have the same.", "invoices"),
    "NewClientAnswer.name": Term("Of at most 100 characters; several clients may have the same.", "invoices"),
    # --- OAuth ------------------------------------------------------------------------------------------------------
    "access_token": Term("A JWT to send as `Authorization: Bearer …`.", "eyJhbGciOi.eyJpc3Mi.c2ln"),
    "active": Term("Whether the token is ours and stands now; of any other nothing is told.", example=True),
    "auth_time": Term("When the user last proved who they are.", 1_772_366_400),
    "client_id": Term("The id of the client; in a form, unless it is in the header `Authorization`.", _CLIENT_ID),
    "client_secret": Term("One of the client's secrets, unless it is in the header `Authorization`.", "rHkG-3Vx"),
    "error": Term("What went wrong, for programs (RFC 6749 §5.2).", "invalid_client"),
    "error_description": Term("What went wrong, for people.", "The client is not known, or its secret is wrong."),
    "exp": Term("When the token expires.", 1_772_367_000),
    "expires_in": Term("Seconds until the token expires.", 590),
    "grant_type": Term("`client_credentials`.", "client_credentials"),
    "grant_types_supported": Term("How tokens can be asked for here.", ["client_credentials"]),
    "iat": Term("When the token was issued.", 1_772_366_400),
    "introspection_endpoint": Term("Where to ask about tokens.", "https://accounts.example.com/oauth/introspect"),
    "introspection_endpoint_auth_methods_supported": Term("How clients show who they are there.", _AUTH_METHODS),
    "iss": Term("Who issued the token.", "https://accounts.example.com"),
    "issuer": Term("The service, as its tokens name it.", "https://accounts.example.com"),
    "jti": Term("The id of the token.", "0192f0c1-2a4b-7c3d-8e5f-00000000000e"),
    "jwks_uri": Term("Where the keys are that verify tokens.", "https://accounts.example.com/.well-known/jwks.json"),
    "response_types_supported": Term("None: users do not sign in by redirects.", []),
    "revocation_endpoint": Term("Where to end tokens.", "https://accounts.example.com/oauth/revoke"),
    "revocation_endpoint_auth_methods_supported": Term("How clients show who they are there.", _AUTH_METHODS),
    "scope": Term(
        "Permissions by name, with spaces between them; all that the client holds if none is asked for.", "user:read"
    ),
    "sid": Term("The session of the user.", "0192f0c1-2a4b-7c3d-8e5f-00000000000f"),
    "sub": Term("Whom the token speaks for: a user, or a client where it is the same as `client_id`.", _CLIENT_ID),
    "token_endpoint": Term("Where to ask for tokens.", "https://accounts.example.com/oauth/token"),
    "token_endpoint_auth_methods_supported": Term("How clients show who they are there.", _AUTH_METHODS),
    "token_type": Term("How to send the token.", "Bearer"),
    "token_type_hint": Term("What kind of token it is; not needed.", "access_token"),
    "PresentedTokenForm.token": Term("The token that it is about.", "eyJhbGciOi.eyJpc3Mi.c2ln"),
    # --- lists ------------------------------------------------------------------------------------------------------
    "data": Term("The items."),
    "limit": Term("How many items there may be on a page.", 20),
    "cursor": Term("`nextCursor` or `prevCursor` of another page, sent with the same filters and the same order."),
    "page": Term("Which part of the list: in a query the number of a page, as far as the item 10,000."),
    "fields": Term("Members that each item is to show, with commas between their names; all if not given.", "id"),
    "sort": Term("The order; a minus in front turns it around. Items of equal value are in the order of their ids."),
    "UsersQuery.email": Term("A part of the address, of 3 characters or more, regardless of case.", "robin@"),
    "NewUserBody.profile": Term("What the profile begins with."),
    "exactEmail": Term("The whole address, as at a sign-in.", "robin@example.com"),
    "UsersQuery.status": Term("Only users in this status.", "active"),
    "RoleUsersQuery.status": Term("Only users in this status.", "active"),
    "role": Term("Only users who hold this role: its id, or its name regardless of case.", "user"),
    "createdAfter": Term("Only what was made at this moment or later.", _TIME),
    "createdBefore": Term("Only what was made earlier than this moment.", _TIME),
    "deleted": Term("`false` leaves deleted users out, `true` all others, `any` none.", "false"),
    "UsersQuery.id": Term("Only these users; repeat the parameter for each, up to 100.", [_USER_ID]),
    "include": Term("What to show beside the user: `loginState`.", "loginState"),
    "emailIsMixedScript": Term(
        "Whether letters of scripts that are not written together are in the address: it may look like another one.",
        example=False,
    ),
    "loginState": Term("How the user's sign-ins went."),
    "lastLoginAt": Term("When the user last signed in, in UTC; null for never.", _TIME),
    "failedAttempts": Term("Sign-ins that failed since the last one that did not.", 0),
    "lockedUntil": Term("Until when the account is locked, in UTC; null if it is not.", None),
    "nextCursor": Term("Gives the page that follows; null where there is none.", None),
    "prevCursor": Term("Gives the page before; null where there is none.", None),
    "total": Term("How many items the list has.", 1),
    "totalIsEstimate": Term("Whether the total was estimated, as it is where counting would take long.", example=False),
    # --- the audit log ----------------------------------------------------------------------------------------------
    "AuditEntryAnswer.action": Term("What was done; the name is stable, and more may come.", "role.updated"),
    "AuditEntryAnswer.actor": Term("Who did it."),
    "AuditEntryAnswer.after": Term("Values as they are since; erased with the user that it is about.", {"name": "b"}),
    "AuditEntryAnswer.before": Term("Values as they were; erased with the user that it is about.", {"name": "a"}),
    "AuditEntryAnswer.subject": Term(
        "What it was done to; null if that does not exist.", {"kind": "role", "id": _ROLE_ID}
    ),
    "AuditLogQuery.action": Term("Only these actions; repeat the parameter for each.", ["role.updated"]),
    "AuditLogQuery.actor": Term("Only what this user or client did.", _USER_ID),
    "AuditLogQuery.after": Term("Only what was done at this moment or later.", _TIME),
    "AuditLogQuery.before": Term("Only what was done earlier than this moment.", _TIME),
    "AuditLogQuery.subject": Term("Only what was done to this.", _USER_ID),
    "ActivityItem.action": Term("What was done; more kinds may come.", "auth.logged_in"),
    "ActorItem.id": Term("Of the user or the client; null for others.", _USER_ID),
    "ActorItem.kind": Term("What kind of somebody it is.", "user"),
    "at": Term("When it was done, in UTC.", _TIME),
    "by": Term("Who did it, as far as the owner of the account is told.", "you"),
    "changed": Term("Names of what changed; of secrets only that they did.", ["name"]),
    "detailsErased": Term("Whether values and origin were erased, with the user.", example=False),
    "ip": Term("The IP address it was done from; null where it is not known, or not told.", "203.0.113.7"),
    "outcome": Term("Whether it was done.", "succeeded"),
    "reason": Term("The code of the error that refused it; null for what succeeded.", None),
    "SubjectItem.kind": Term("What kind of thing it is.", "role"),
    "userAgent": Term("What the client called itself; null where it is not known, or not told.", "Mozilla/5.0"),
    # --- the export -------------------------------------------------------------------------------------------------
    "absoluteExpiresAt": Term("When the session ends at the latest, in UTC.", _TIME),
    "account": Term("The account itself."),
    "activity": Term("What the audit log says happened to the account, the newest first."),
    "addresses": Term("All addresses, the oldest first."),
    "current": Term("Whether the call that is answered came from this session.", example=True),
    "SessionAnswer.expiresAt": Term("When the session ends unless it is used before, in UTC.", _TIME),
    "SessionAnswer.ip": Term("Where the sign-in came from; null where it is not known.", "203.0.113.7"),
    "SessionAnswer.lastUsedAt": Term("When the session began or was last refreshed, in UTC.", _TIME),
    "SessionAnswer.userAgent": Term("What the client called itself at the sign-in; null if nothing.", "Mozilla/5.0"),
    "amr": Term("How the user showed who they are (RFC 8176).", ["pwd"]),
    "authTime": Term("When the user last showed who they are, in UTC.", _TIME),
    "deeds": Term("What the audit log says the user did to others and to the service, the newest first."),
    "DeedItem.action": Term("What was done; the name is stable, and more may come.", "role.updated"),
    "DeedItem.subject": Term("What it was done to; null for nothing that exists.", {"kind": "role", "id": _ROLE_ID}),
    "ExportAnswer.roles": Term("The roles that the user holds."),
    "HeldActivityItem.action": Term("What was done; more kinds may come.", "auth.logged_in"),
    "HeldActivityItem.after": Term("Values as they are since, or the circumstances.", {"status": "active"}),
    "HeldActivityItem.before": Term("Values as they were.", {"status": "pending_verification"}),
    "HeldSessionItem.expiresAt": Term("When the session ends unless it is used before, in UTC.", _TIME),
    "generation": Term("How often the session was refreshed.", 3),
    "hasPassword": Term("Whether the account has one.", example=True),
    "HeldSessionItem.lastUsedAt": Term("When the session began or was last refreshed, in UTC.", _TIME),
    "logIsComplete": Term(
        "Whether the log holds no more about the user; older entries of theirs are in the list of activity.",
        example=True,
    ),
    "mailedLinks": Term("Links that were mailed, the oldest first."),
    "MailedLinkItem.email": Term("The address it was mailed to.", "robin@example.com"),
    "MailedLinkItem.expiresAt": Term("Until when it could be used, in UTC.", _TIME),
    "MailedLinkItem.purpose": Term("What it is for.", "verify-email"),
    "passwordChangedAt": Term("When the owner last chose a password, in UTC; null without one.", _TIME),
    "passwordMustChange": Term("Whether it was issued, and has to be replaced at the next sign-in.", example=False),
    "profile": Term("What the user says of themselves."),
    "revokedAt": Term("When the session was ended before its time, in UTC; null if it was not.", None),
    "rotatedAt": Term("When the session was last refreshed, in UTC; null if it never was.", None),
    "sessions": Term("Sessions, ended ones too, the oldest first."),
    "signIns": Term("The password, as far as it is told of, and how sign-ins went."),
    "usedAt": Term("When it was used or ended, in UTC; null if it was not.", None),
    # --- the service itself -----------------------------------------------------------------------------------------
    "components": Term("What paths refer to.", {}),
    "info": Term("What the document is about.", {"title": "User Service", "version": "1"}),
    "keys": Term("JSON Web Keys.", [{"kty": "OKP", "crv": "Ed25519", "kid": "2026-03", "x": "11qY"}]),
    "openapi": Term("The version of OpenAPI.", "3.1.0"),
    "paths": Term("The operations by path and method.", {}),
    "resources": Term("Each resource by name: `ok`, or what is wrong with it.", {"database": "ok"}),
    "LiveAnswer.status": Term("That the process answers.", "live"),
    "ReadyAnswer.status": Term("`ready` and `degraded` take requests, the others do not.", "ready"),
    # --- problems ---------------------------------------------------------------------------------------------------
    "code": Term("What is wrong, for programs; more may come.", "invalid-email"),
    "detail": Term("What went wrong, for people.", "The input is not valid."),
    "errors": Term("All that is wrong with the input."),
    "message": Term("What is wrong, for people.", "This is not an address that mail can be sent to."),
    "params": Term("Values that the detail is about.", {}),
    "pointer": Term("Where in the body or in the query (RFC 6901).", "/email"),
    "requestId": Term("Names the request in the logs; also in the header X-Request-Id.", "0192f0c1-req"),
    "ProblemAnswer.status": Term("The status of the answer.", 400),
    "title": Term("The code in words.", "Invalid input"),
    "type": Term(
        "`urn:userservice:problem:` and the code of the error; more may come.", "urn:userservice:problem:invalid-input"
    ),
}


def term_of(shape: str, member: str) -> Term | None:
    """Return what *member* of *shape* means; None where nobody has said so."""
    return TERMS.get(f"{shape}.{member}") or TERMS.get(member)
