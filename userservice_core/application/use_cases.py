"""All use cases of the service, wired."""

from __future__ import annotations

import attrs

from userservice_core.application.access import Access
from userservice_core.application.access_definitions import DeclaredAccess
from userservice_core.application.account_administration import AccountAdministration
from userservice_core.application.accounts import Accounts
from userservice_core.application.addresses import Addresses
from userservice_core.application.audit_trail import AuditTrail
from userservice_core.application.authentication import Authentication
from userservice_core.application.authorization import Authorization
from userservice_core.application.client_tokens import ClientTokens
from userservice_core.application.email_changes import EmailChanges
from userservice_core.application.email_verification import EmailVerification
from userservice_core.application.idempotency import IdempotentCalls
from userservice_core.application.invitations import Invitations
from userservice_core.application.mfa import Mfa
from userservice_core.application.own_account import OwnAccount
from userservice_core.application.parked_events import ParkedEvents
from userservice_core.application.passwords import Passwords
from userservice_core.application.permissions import Permissions
from userservice_core.application.personal_data import PersonalDataExports
from userservice_core.application.profiles import Profiles
from userservice_core.application.rate_limits import RateLimits
from userservice_core.application.refusals import Refusals
from userservice_core.application.registration import Registration
from userservice_core.application.retention import Retention
from userservice_core.application.role_assignments import RoleAssignments
from userservice_core.application.roles import Roles
from userservice_core.application.run_time_settings import RunTimeSettings
from userservice_core.application.service_clients import ServiceClients
from userservice_core.application.sessions import Sessions
from userservice_core.application.user_directory import UserDirectory
from userservice_core.application.user_exports import UserExports
from userservice_core.application.user_imports import UserImports
from userservice_core.ports.security import AccessTokenIssuer, CursorSigner


@attrs.frozen(kw_only=True)
class UseCases:
    """What a host, a command or an embedding service calls."""

    access: Access
    registration: Registration
    email_verification: EmailVerification
    email_changes: EmailChanges
    authentication: Authentication
    mfa: Mfa
    sessions: Sessions
    passwords: Passwords
    authorization: Authorization
    accounts: Accounts
    own_account: OwnAccount
    account_administration: AccountAdministration
    retention: Retention
    profiles: Profiles
    addresses: Addresses
    roles: Roles
    permissions: Permissions
    declared_access: DeclaredAccess
    role_assignments: RoleAssignments
    user_directory: UserDirectory
    user_imports: UserImports
    user_exports: UserExports
    invitations: Invitations
    idempotent_calls: IdempotentCalls
    refusals: Refusals
    rate_limits: RateLimits
    run_time_settings: RunTimeSettings
    service_clients: ServiceClients
    client_tokens: ClientTokens
    audit_trail: AuditTrail
    parked_events: ParkedEvents
    personal_data: PersonalDataExports
    token_issuer: AccessTokenIssuer
    cursors: CursorSigner
