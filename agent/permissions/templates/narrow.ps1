{% if mail %}

# {{ step() }}. Narrow mail to the probes' mailboxes (module ExchangeOnlineManagement): RBAC for Applications.
# It is granted in Exchange and not in Entra: a grant there would reach every mailbox, and the two add up. It takes up to two hours to act.
Connect-ExchangeOnline -ShowBanner:$false{{ " -ExchangeEnvironmentName " ~ cloud.exchange if cloud.exchange }}
if (-not (Get-ServicePrincipal | Where-Object { $_.AppId -eq $sp.AppId })) {
    New-ServicePrincipal -AppId $sp.AppId -ObjectId $sp.Id -DisplayName 'Fogbell'
}
$mailboxes = {{ mailbox_filter | ps }}
if (Get-ManagementScope | Where-Object { $_.Name -eq 'Fogbell mailboxes' }) {
    Set-ManagementScope -Identity 'Fogbell mailboxes' -RecipientRestrictionFilter $mailboxes
}
else { New-ManagementScope -Name 'Fogbell mailboxes' -RecipientRestrictionFilter $mailboxes }
$given = (Get-ManagementRoleAssignment).Name
{% for role in mail %}
if ($given -notcontains {{ ("Fogbell " ~ role) | ps }}) {
    New-ManagementRoleAssignment -Name {{ ("Fogbell " ~ role) | ps }} -App $sp.Id -Role {{ role | ps }} `
        -CustomResourceScope 'Fogbell mailboxes'
}
{% endfor %}
{% endif %}
{% if opened %}

# {{ step() }}. Open the probes' mailboxes (module ExchangeOnlineManagement): without it IMAP and POP3 say "authenticated but not connected".
{% if not mail %}
Connect-ExchangeOnline -ShowBanner:$false{{ " -ExchangeEnvironmentName " ~ cloud.exchange if cloud.exchange }}
if (-not (Get-ServicePrincipal | Where-Object { $_.AppId -eq $sp.AppId })) {
    New-ServicePrincipal -AppId $sp.AppId -ObjectId $sp.Id -DisplayName 'Fogbell'
}
{% endif %}
{% for mailbox in opened %}
Add-MailboxPermission -Identity {{ mailbox | ps }} -User $sp.Id -AccessRights FullAccess | Out-Null
{% endfor %}
{% endif %}
{% if sites %}

# {{ step() }}. Narrow files to the probes' sites. Sites.FullControl.All is your own right for this step; the app does not get it.
{{ to_graph(["Sites.FullControl.All"]) }}
{% for site in sites %}
$site = Get-MgSite -SiteId {{ site | ps }}
$given = Get-MgSitePermission -SiteId $site.Id -All |
    Where-Object { $_.GrantedToIdentitiesV2.Application.Id -contains $sp.AppId }
if (-not $given) {
    New-MgSitePermission -SiteId $site.Id -BodyParameter @{
        roles = @('{{ site_role }}')
        grantedToIdentities = @(@{ application = @{ id = $sp.AppId; displayName = 'Fogbell' } })
    } | Out-Null
}
{% endfor %}
{% endif %}
{% if consents and not cloud.has_team_consent %}

# {{ step() }}. Graph installs no apps in teams in this cloud, so there is no consent for one team or chat: these probes cannot work.
{% elif consents %}

# {{ step() }}. Consent for the probes' teams and chats (module MicrosoftTeams): an app that does nothing but ask, installed in each.
Connect-MicrosoftTeams -TenantId {{ tenant.tenant_id | ps }}{{ " -TeamsEnvironmentName " ~ cloud.teams if cloud.teams }} | Out-Null
$manifest = @'
{{ manifest }}
'@
Set-Content -Path manifest.json -Value $manifest.Replace('APP-ID', $sp.AppId)
[IO.File]::WriteAllBytes("$PWD/color.png", [Convert]::FromBase64String('{{ colour_icon }}'))
[IO.File]::WriteAllBytes("$PWD/outline.png", [Convert]::FromBase64String('{{ outline_icon }}'))
Compress-Archive -Force -Path manifest.json, color.png, outline.png -DestinationPath fogbell-teams.zip
$inTeams = Get-TeamsApp -ExternalId $sp.AppId
if (-not $inTeams) { $inTeams = New-TeamsApp -DistributionMethod organization -Path fogbell-teams.zip }
{{ to_graph(["TeamsAppInstallation.ReadWriteAndConsentForTeam", "TeamsAppInstallation.ReadWriteAndConsentForChat"]) }}
{% for consent in consents %}
$installed = Get-Mg{{ consent.where }}InstalledApp -All -{{ consent.where }}Id {{ consent.target | ps }} -ExpandProperty teamsApp
if (-not ($installed | Where-Object { $_.TeamsApp.Id -eq $inTeams.Id })) {
    New-Mg{{ consent.where }}InstalledApp -{{ consent.where }}Id {{ consent.target | ps }} -BodyParameter @{
        'teamsApp@odata.bind' = "https://{{ tenant.where.graph }}/v1.0/appCatalogs/teamsApps/$($inTeams.Id)"
        consentedPermissionSet = @{ resourceSpecificPermissions = @(
{% for name in consent.permissions %}
            @{ permissionValue = {{ name | ps }}; permissionType = 'application' }
{% endfor %}
        ) }
    }
}
{% endfor %}
{% endif %}
{% if meetings %}

# {{ step() }}. Narrow meetings to the probes' users (module MicrosoftTeams). It takes up to 30 minutes to act.
Connect-MicrosoftTeams -TenantId {{ tenant.tenant_id | ps }}{{ " -TeamsEnvironmentName " ~ cloud.teams if cloud.teams }} | Out-Null
# Teams lists the policy as Tag:Fogbell.
$policy = Get-CsApplicationAccessPolicy | Where-Object { 'Fogbell', 'Tag:Fogbell' -contains $_.Identity }
if (-not $policy) { New-CsApplicationAccessPolicy -Identity 'Fogbell' -AppIds $sp.AppId -Description 'Meetings of the probes' }
elseif ($policy.AppIds -notcontains $sp.AppId) { Set-CsApplicationAccessPolicy -Identity 'Fogbell' -AppIds @{ Add = $sp.AppId } }
{% for user in meetings %}
Grant-CsApplicationAccessPolicy -Identity {{ user | ps }} -PolicyName 'Fogbell'
{% endfor %}
{% endif %}
{% if demand.in_ediscovery %}

# {{ step() }}. eDiscovery answers only who is in a role group of Purview, which no permission covers: {{ role_group }}.
# The commands are for a PowerShell of their own (module ExchangeOnlineManagement), since Exchange has some of the same names.
"Connect-IPPSSession"
"New-ServicePrincipal -AppId $($sp.AppId) -ObjectId $($sp.Id) -DisplayName Fogbell"
"Add-RoleGroupMember -Identity eDiscoveryManager -Member $($sp.Id)"
"Get-RoleGroupMember -Identity eDiscoveryManager"
{% endif %}

# {{ step() }}. Verify: what the app may do now
Get-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $sp.Id -All | ForEach-Object {
    $assigned = $_
    $api = Get-MgServicePrincipal -ServicePrincipalId $assigned.ResourceId
    "$($api.DisplayName): $(($api.AppRoles | Where-Object { $_.Id -eq $assigned.AppRoleId }).Value)"
}
{% if mail %}
{% for mailbox in mailboxes %}
Test-ServicePrincipalAuthorization -Identity $sp.Id -Resource {{ mailbox | ps }} | Format-Table
{% endfor %}
{% endif %}
{% for mailbox in opened %}
Get-MailboxPermission -Identity {{ mailbox | ps }} | Where-Object { $_.AccessRights -contains 'FullAccess' } | Format-Table
{% endfor %}
{% for site in sites %}
$site = Get-MgSite -SiteId {{ site | ps }}
Get-MgSitePermission -SiteId $site.Id -All | Where-Object { $_.GrantedToIdentitiesV2.Application.Id -contains $sp.AppId } |
    ForEach-Object { "$($site.WebUrl): $($_.Roles)" }
{% endfor %}
{% for consent in consents if cloud.has_team_consent %}
$installed = Get-Mg{{ consent.where }}InstalledApp -All -{{ consent.where }}Id {{ consent.target | ps }} -ExpandProperty teamsApp
"{{ consent.where }} " + {{ consent.target | ps }} + ": consent $(if ($installed.TeamsApp.Id -contains $inTeams.Id) { 'given' } else { 'missing' })"
{% endfor %}
{% if meetings %}
Get-CsApplicationAccessPolicy | Where-Object { $_.AppIds -contains $sp.AppId } | Format-List
{% for user in meetings %}
Get-CsOnlineUser -Identity {{ user | ps }} | Format-Table UserPrincipalName, ApplicationAccessPolicy
{% endfor %}
{% endif %}
# Then, where the agent runs: fogbell permissions --check --config PATH
