# Tenant {{ demand.name }}: PowerShell 7 with the module Microsoft.Graph.
# What is there already stays; only the credential is added anew by each run.
$ErrorActionPreference = 'Stop'
{% if new_environment %}
{{ new_environment }}
{% endif %}
{{ to_graph(rights) }}

# {{ step() }}. App registration and service principal
{% if machine %}
$sp = Get-MgServicePrincipal -Filter "appId eq {{ machine | ps }}"
if (-not $sp) { throw 'there is no such managed identity; make it in Azure first' }
{% else %}
$app = Get-MgApplication -Filter "appId eq {{ tenant.client_id | ps }}"
if (-not $app) { $app = New-MgApplication -DisplayName 'Fogbell' -SignInAudience AzureADMyOrg }
$sp = Get-MgServicePrincipal -Filter "appId eq '$($app.AppId)'"
if (-not $sp) { $sp = New-MgServicePrincipal -AppId $app.AppId }
# This goes into the configuration before you run these commands again:
"client_id: $($app.AppId)"
{% endif %}
{% if credential.certificate %}

# {{ step() }}. Credential. The file is the certificate without its key:
# openssl x509 -in {{ (credential.certificate.file or 'fogbell.pem') | in_a_line | ps }} -out fogbell.cer
$certificate = [Security.Cryptography.X509Certificates.X509Certificate2]::new((Resolve-Path 'fogbell.cer').Path)
$added = @{ Type = 'AsymmetricX509Cert'; Usage = 'Verify'; Key = $certificate.RawData; DisplayName = 'fogbell' }
Update-MgApplication -ApplicationId $app.Id -KeyCredentials (@($app.KeyCredentials | Where-Object { $_ }) + $added)
{% elif credential.secret %}

# {{ step() }}. Credential. Its value is shown only now: move the file where the configuration points.
$added = @{ DisplayName = 'fogbell'; EndDateTime = (Get-Date).ToUniversalTime().AddDays(180) }
$secret = Add-MgApplicationPassword -ApplicationId $app.Id -PasswordCredential $added
Set-Content -NoNewline -Path fogbell.secret -Value $secret.SecretText
# This goes into the configuration:
"expires: $($secret.EndDateTime.ToString('yyyy-MM-dd'))"
{% elif credential.federated_token %}

# {{ step() }}. Credential. These are the claims iss and sub of the token in the file.
$issuer = 'https://ISSUER'
$subject = 'SUBJECT'
$given = Get-MgApplicationFederatedIdentityCredential -ApplicationId $app.Id | Where-Object { $_.Name -eq 'fogbell' }
if (-not $given) {
    New-MgApplicationFederatedIdentityCredential -ApplicationId $app.Id -Name 'fogbell' `
        -Issuer $issuer -Subject $subject -Audiences {{ cloud.audience | ps }} | Out-Null
}
{% endif %}
{% for resource in application %}

# {{ step() }}. Application permissions of {{ resource.name }}
$api = Get-MgServicePrincipal -Filter "appId eq {{ resource.app_id | ps }}"
$given = Get-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $sp.Id -All
foreach ($name in {{ resource.permissions | ps_list }}) {
    $role = $api.AppRoles | Where-Object { $_.Value -eq $name -and $_.AllowedMemberTypes -contains 'Application' }
    if (-not $role) { throw "{{ resource.name }} has no application permission $name" }
    if ($given | Where-Object { $_.AppRoleId -eq $role.Id -and $_.ResourceId -eq $api.Id }) { continue }
    New-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $sp.Id `
        -PrincipalId $sp.Id -ResourceId $api.Id -AppRoleId $role.Id | Out-Null
}
{% endfor %}
{% for resource in delegated %}

# {{ step() }}. Delegated permissions of {{ resource.name }}
{% if machine %}
# Nobody can sign in to a managed identity: these probes need a tenant entry with an app registration of its own.
{% else %}
# Consent is for the one user who signs in with `fogbell login {{ demand.name }}`, so that nobody else can use the app.
$user = Get-MgUser -UserId 'PROBE-USER@YOUR-DOMAIN'
$api = Get-MgServicePrincipal -Filter "appId eq {{ resource.app_id | ps }}"
$scopes = {{ resource.permissions | ps_list }}
foreach ($name in $scopes) {
    if ($api.Oauth2PermissionScopes.Value -notcontains $name) { throw "{{ resource.name }} has no delegated permission $name" }
}
$given = Get-MgOauth2PermissionGrant -All -Filter "clientId eq '$($sp.Id)'" |
    Where-Object { $_.PrincipalId -eq $user.Id -and $_.ResourceId -eq $api.Id }
if ($given) { Update-MgOauth2PermissionGrant -OAuth2PermissionGrantId $given.Id -Scope ($scopes -join ' ') }
else {
    New-MgOauth2PermissionGrant -ClientId $sp.Id -ConsentType Principal -PrincipalId $user.Id `
        -ResourceId $api.Id -Scope ($scopes -join ' ') | Out-Null
}
{% endif %}
{% endfor %}
{% if registration.redirects or registration.public_flows %}

# {{ step() }}. What signing in as a person needs of the registration
{% if machine %}
# A managed identity has none: these probes need a tenant entry with an app registration of its own.
{% endif %}
{% if registration.redirects and not machine %}
# Redirect URIs of a mobile or desktop application; Entra takes none twice, wherever it is registered.
$given = @($app.PublicClient.RedirectUris | Where-Object { $_ })
$anywhere = $given + $app.Web.RedirectUris + $app.Spa.RedirectUris
$missing = @({{ registration.redirects | ps_list }} | Where-Object { $anywhere -cnotcontains $_ })
if ($missing) { Update-MgApplication -ApplicationId $app.Id -PublicClient @{ RedirectUris = $given + $missing } }
{% endif %}
{% if registration.public_flows and not machine %}
# Device codes need public client flows.
Update-MgApplication -ApplicationId $app.Id -IsFallbackPublicClient
{% endif %}
{% endif %}
{% include "narrow.ps1" %}
