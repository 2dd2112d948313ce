# Tenant {{ demand.name }}: Azure CLI in a POSIX shell.
# What is there already stays; only the credential is added anew by each run. The brackets keep a failure from ending your own shell.
(
set -eu
az cloud set --name {{ cloud.azure }}
az login --tenant {{ tenant.tenant_id }} --allow-no-subscriptions --output none
v1=https://{{ tenant.where.graph }}/v1.0

# {{ step() }}. App registration and service principal
{% if machine %}
sp=$(az ad sp list --filter "appId eq '{{ machine }}'" --query '[0].id' --output tsv)
[ -n "$sp" ] || { echo 'there is no such managed identity; make it in Azure first' >&2; exit 1; }
{% else %}
app=$(az ad app list --filter "appId eq '{{ tenant.client_id }}'" --query '[0].appId' --output tsv)
[ -n "$app" ] || app=$(az ad app create --display-name Fogbell --sign-in-audience AzureADMyOrg --query appId --output tsv)
sp=$(az ad sp list --filter "appId eq '$app'" --query '[0].id' --output tsv)
[ -n "$sp" ] || sp=$(az ad sp create --id "$app" --query id --output tsv)
# This goes into the configuration before you run these commands again:
echo "client_id: $app"
{% endif %}
{% if credential.certificate %}

# {{ step() }}. Credential. The file is the certificate without its key:
# openssl x509 -in {{ (credential.certificate.file or 'fogbell.pem') | in_a_line | sh }} -out fogbell.cer
az ad app credential reset --id "$app" --append --cert @fogbell.cer --output none
{% elif credential.secret %}

# {{ step() }}. Credential. Its value is shown only now: move the file where the configuration points.
(umask 077; az ad app credential reset --id "$app" --append --display-name fogbell --years 1 --query password --output tsv > fogbell.secret)
# The day goes into the configuration as `expires`:
az ad app credential list --id "$app" --query '[].{name: displayName, expires: endDateTime}' --output table
{% elif credential.federated_token %}

# {{ step() }}. Credential. ISSUER and SUBJECT are the claims iss and sub of the token in the file.
given=$(az ad app federated-credential list --id "$app" --query "[?name=='fogbell'].id | [0]" --output tsv)
[ -n "$given" ] || az ad app federated-credential create --id "$app" --output none --parameters \
    '{"name": "fogbell", "issuer": "https://ISSUER", "subject": "SUBJECT", "audiences": ["{{ cloud.audience }}"]}'
{% endif %}
{% for resource in application %}

# {{ step() }}. Application permissions of {{ resource.name }}
api=$(az ad sp list --filter "appId eq '{{ resource.app_id }}'" --query '[0].id' --output tsv)
for name in {{ resource.permissions | join(" ") }}; do
    role=$(az ad sp show --id "$api" --output tsv \
        --query "appRoles[?value=='$name' && contains(allowedMemberTypes, 'Application')].id | [0]")
    [ -n "$role" ] || { echo "{{ resource.name }} has no application permission $name" >&2; exit 1; }
    given=$(az rest --url "$v1/servicePrincipals/$sp/appRoleAssignments" --output tsv \
        --query "value[?appRoleId=='$role' && resourceId=='$api'].id | [0]")
    [ -n "$given" ] || az rest --method POST --url "$v1/servicePrincipals/$sp/appRoleAssignments" --output none \
        --body "{\"principalId\": \"$sp\", \"resourceId\": \"$api\", \"appRoleId\": \"$role\"}"
done
{% endfor %}
{% for resource in delegated %}

# {{ step() }}. Delegated permissions of {{ resource.name }}
{% if machine %}
# Nobody can sign in to a managed identity: these probes need a tenant entry with an app registration of its own.
{% else %}
# Consent is for the one user who signs in with `fogbell login {{ demand.name }}`, so that nobody else can use the app.
user=$(az ad user show --id 'PROBE-USER@YOUR-DOMAIN' --query id --output tsv)
api=$(az ad sp list --filter "appId eq '{{ resource.app_id }}'" --query '[0].id' --output tsv)
scopes='{{ resource.permissions | join(" ") }}'
given=$(az rest --url "$v1/servicePrincipals/$sp/oauth2PermissionGrants" --output tsv \
    --query "value[?principalId=='$user' && resourceId=='$api'].id | [0]")
if [ -n "$given" ]; then
    az rest --method PATCH --url "$v1/oauth2PermissionGrants/$given" --output none --body "{\"scope\": \"$scopes\"}"
else
    az rest --method POST --url "$v1/oauth2PermissionGrants" --output none --body \
        "{\"clientId\": \"$sp\", \"consentType\": \"Principal\", \"principalId\": \"$user\", \"resourceId\": \"$api\", \"scope\": \"$scopes\"}"
fi
{% endif %}
{% endfor %}
{% if registration.redirects or registration.public_flows %}

# {{ step() }}. What signing in as a person needs of the registration
{% if machine %}
# A managed identity has none: these probes need a tenant entry with an app registration of its own.
{% endif %}
{% if registration.redirects and not machine %}
# Redirect URIs of a mobile or desktop application; Entra takes none twice, wherever it is registered.
for redirect in {{ registration.redirects | sh_list }}; do
    anywhere=$(az ad app show --id "$app" --query '[publicClient, web, spa][].redirectUris[]' --output tsv)
    if printf '%s\n' "$anywhere" | grep -Fqx -e "$redirect"; then continue; fi
    given=$(az ad app show --id "$app" --query publicClient.redirectUris --output tsv)
    printf '%s\n' "$given" "$redirect" | grep . | tr '\n' '\0' |
        xargs -0 az ad app update --id "$app" --public-client-redirect-uris
done
{% endif %}
{% if registration.public_flows and not machine %}
# Device codes need public client flows.
az ad app update --id "$app" --is-fallback-public-client true
{% endif %}
{% endif %}

# {{ step() }}. Verify: what the app may do now, by the identifiers of roles
az rest --url "$v1/servicePrincipals/$sp/appRoleAssignments" --output table \
    --query 'value[].{api: resourceDisplayName, role: appRoleId}'
# Then, where the agent runs: fogbell permissions --check --config PATH
)
