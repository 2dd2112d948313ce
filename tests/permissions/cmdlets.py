"""Cmdlets and parameters that exist, from Microsoft's reference (learn.microsoft.com/powershell), so that no command is made up.

`READ` were looked up page by page; `KNOWN` are in daily use, and their pages were not at hand.
"""

READ: dict[str, str] = {
    "Add-MailboxPermission": "Identity User AccessRights",
    "Add-MgEnvironment": "Name AzureADEndpoint GraphEndpoint",
    "Connect-ExchangeOnline": "ShowBanner ExchangeEnvironmentName",
    "Connect-MicrosoftTeams": "TenantId TeamsEnvironmentName",
    "Get-TeamsApp": "ExternalId Id DisplayName DistributionMethod",
    "Grant-CsApplicationAccessPolicy": "Identity PolicyName Group Global",
    "New-CsApplicationAccessPolicy": "Identity AppIds Description",
    "New-ManagementRoleAssignment": "Name Role App CustomResourceScope RecipientAdministrativeUnitScope RecipientGroupScope",
    "New-ManagementScope": "Name RecipientRestrictionFilter RecipientRoot Exclusive",
    "New-MgApplicationFederatedIdentityCredential": "ApplicationId Audiences Description Issuer Name Subject BodyParameter",
    "New-MgChatInstalledApp": "ChatId BodyParameter TeamsApp ConsentedPermissionSet",
    "New-MgOauth2PermissionGrant": "ClientId ConsentType PrincipalId ResourceId Scope BodyParameter",
    "New-MgSitePermission": "SiteId Roles GrantedTo GrantedToIdentities GrantedToIdentitiesV2 BodyParameter",
    "New-MgTeamInstalledApp": "TeamId BodyParameter TeamsApp ConsentedPermissionSet",
    "New-ServicePrincipal": "AppId ObjectId ServiceId DisplayName",
    "New-TeamsApp": "DistributionMethod Path",
    "Set-ManagementScope": "Identity RecipientRestrictionFilter RecipientRoot Name",
    "Test-ServicePrincipalAuthorization": "Identity Resource",
    "Update-MgApplication": "ApplicationId KeyCredentials PasswordCredentials IsFallbackPublicClient PublicClient BodyParameter",
    "Update-MgOauth2PermissionGrant": "OAuth2PermissionGrantId Scope BodyParameter",
}
KNOWN: dict[str, str] = {
    "Add-MgApplicationPassword": "ApplicationId PasswordCredential",
    "Connect-MgGraph": "NoWelcome TenantId Environment Scopes",
    "Get-MgApplication": "Filter ApplicationId All",
    "Get-MgApplicationFederatedIdentityCredential": "ApplicationId",
    "Get-MgOauth2PermissionGrant": "All Filter",
    "Get-MgServicePrincipal": "Filter ServicePrincipalId All",
    "Get-MgServicePrincipalAppRoleAssignment": "ServicePrincipalId All",
    "Get-MgSite": "SiteId",
    "Get-MgSitePermission": "SiteId All",
    "Get-MgUser": "UserId",
    "New-MgApplication": "DisplayName SignInAudience",
    "New-MgServicePrincipal": "AppId",
    "New-MgServicePrincipalAppRoleAssignment": "ServicePrincipalId PrincipalId ResourceId AppRoleId",
}
PARTS_OF_POWERSHELL: dict[str, str] = {
    "Compress-Archive": "Force Path DestinationPath",
    "ForEach-Object": "",
    "Format-Table": "",
    "Get-Date": "",
    "Out-Null": "",
    "Resolve-Path": "",
    "Set-Content": "NoNewline Path Value",
    "Where-Object": "",
}
COMMON = {"ErrorAction"}
OPERATORS = {"not", "eq", "contains", "notcontains", "cnotcontains", "and", "or", "join"}
